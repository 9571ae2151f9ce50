"""Rate limits in the admin: inside of a key, team, user or plan, and as a list."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from accounts.admin.scopes import SCOPE_FIELDS, SCOPE_ROWS, OneScope, ScopedAdmin, ScopeFilter
from accounts.models import RateLimit
from registry.admin.rows import UniqueRows
from registry.models import Alias, ServedModel

FIELDS = ("metric", "amount", "window_s", "model")
UNIQUE = ("window_s", "model", "metric")
TWICE = "There is already a limit of this metric, window and model. Change that one."
NO_SUCH_MODEL = "No model is called “{}” now: the limit holds once there is one."


class LimitForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """A limit. For requests at the same time there is no window."""

    class Meta:
        model = RateLimit
        fields: tuple[str, ...] = FIELDS

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if amount < 1:
            raise ValidationError("Enter 1 or more. To allow nothing, disable the key.")
        return amount

    def clean_model(self) -> str:
        """An alias stands for its model."""
        named: str = self.cleaned_data["model"]
        alias = Alias.objects.filter(name=named).select_related("model").first()
        return alias.model.name if alias else named

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("metric") == RateLimit.Metric.CONCURRENCY:
            self.cleaned_data["window_s"] = RateLimit.Window.SECOND
        values: dict[str, Any] = super().clean() or self.cleaned_data
        return values


class ScopedLimitForm(LimitForm, OneScope):
    unique = UNIQUE
    complaint = TWICE

    class Meta(LimitForm.Meta):
        fields = (*SCOPE_FIELDS, *FIELDS)


class LimitFormSet(UniqueRows):
    unique = UNIQUE
    complaint = TWICE


class LimitInline(TabularInline):
    model = RateLimit
    form = LimitForm
    formset = LimitFormSet
    extra = 0
    tab = True
    hide_title = True
    verbose_name = "limit"
    verbose_name_plural = "limits"


def warn_of_unknown_models(request: HttpRequest, limits: Iterable[RateLimit]) -> None:
    """Tell of limits that hold for no model there is: it may be a slip, or ahead of its model."""
    patterns = {limit.model for limit in limits if limit.model}
    names = list(ServedModel.objects.values_list("name", flat=True)) if patterns else []
    for pattern in sorted(patterns):
        if not any(fnmatchcase(name, pattern) for name in names):
            messages.warning(request, NO_SUCH_MODEL.format(pattern))


class WarnsOfModels(ModelAdmin):
    """A part of admins with limits in their form."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        warn_of_unknown_models(request, form.instance.ratelimits.all())


@admin.register(RateLimit)
class RateLimitAdmin(ScopedAdmin):
    form = ScopedLimitForm
    list_display = ("scope", "amount", "metric", "window", "model_or_all")
    list_filter = (
        ScopeFilter,
        ("metric", ChoicesDropdownFilter),
        ("window_s", ChoicesDropdownFilter),
    )
    search_fields = (*ScopedAdmin.search_fields, "model")
    search_help_text = "Key, team, user, plan or model"
    fields = (*SCOPE_ROWS, ("amount", "metric"), ("window_s", "model"))

    def save_model(self, request: HttpRequest, obj: RateLimit, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        warn_of_unknown_models(request, [obj])

    @admin.display(description="Window", ordering="window_s")
    def window(self, limit: RateLimit) -> str:
        concurrent = limit.metric == RateLimit.Metric.CONCURRENCY
        return "at the same time" if concurrent else limit.get_window_s_display()

    @admin.display(description="Model", ordering="model")
    def model_or_all(self, limit: RateLimit) -> str:
        return limit.model or "all"
