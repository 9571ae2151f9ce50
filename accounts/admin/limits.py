"""Rate limits and budgets in the admin: inside of a key, team or user, and as lists."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from accounts.models import Budget, RateLimit, Scoped
from registry.admin.rows import UniqueRows

SCOPE_FIELDS = ("key", "team", "user")
TWICE = "There is already a limit of this metric and window. Change that one."
BUDGET_TWICE = "There is already a budget for this period. Change that one."


class LimitForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """A limit. For requests at the same time there is no window."""

    class Meta:
        model = RateLimit
        fields: tuple[str, ...] = ("metric", "amount", "window_s")
        error_messages = {NON_FIELD_ERRORS: {"unique_together": TWICE}}

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if amount < 1:
            raise ValidationError("Enter 1 or more. To allow nothing, disable the key.")
        return amount

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        if values.get("metric") == RateLimit.Metric.CONCURRENCY:
            values["window_s"] = RateLimit.Window.SECOND
        return values


class BudgetForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    class Meta:
        model = Budget
        fields: tuple[str, ...] = ("amount", "period", "hard")
        error_messages = {NON_FIELD_ERRORS: {"unique_together": BUDGET_TWICE}}


class OneScope(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """A part of forms that ask whom the row is for."""

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        chosen = [name for name in SCOPE_FIELDS if values.get(name)]
        if not set(SCOPE_FIELDS) & set(self.errors) and len(chosen) != 1:
            self.add_error("key", "Choose a key, a team or a user: one of the three.")
        return values


class ScopedLimitForm(OneScope, LimitForm):
    class Meta(LimitForm.Meta):
        fields = (*SCOPE_FIELDS, *LimitForm.Meta.fields)


class ScopedBudgetForm(OneScope, BudgetForm):
    class Meta(BudgetForm.Meta):
        fields = (*SCOPE_FIELDS, *BudgetForm.Meta.fields)


class LimitFormSet(UniqueRows):
    unique = ("window_s", "metric")
    complaint = TWICE


class BudgetFormSet(UniqueRows):
    unique = ("period",)
    complaint = BUDGET_TWICE


class LimitInline(TabularInline):
    model = RateLimit
    form = LimitForm
    formset = LimitFormSet
    extra = 0
    tab = True
    hide_title = True
    verbose_name_plural = "limits"


class BudgetInline(TabularInline):
    model = Budget
    form = BudgetForm
    formset = BudgetFormSet
    extra = 0
    tab = True
    hide_title = True


class ScopeFilter(admin.SimpleListFilter):
    """What the row is for."""

    title = "for"
    parameter_name = "scope"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("key", "Keys"), ("team", "Teams"), ("user", "Users")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() in SCOPE_FIELDS:
            return queryset.filter(~Q(**{f"{self.value()}": None}))
        return queryset


class ScopedAdmin(ModelAdmin):
    """The list of limits or budgets over all keys, teams and users."""

    list_select_related = ("key__team", "team", "user")
    list_filter_submit = True
    autocomplete_fields = SCOPE_FIELDS
    search_fields = ("key__name", "key__public_id", "team__name", "user__username")
    search_help_text = "Key, team or user"
    change_form_outer_before_template = "accounts/managed_scope.html"

    def has_change_permission(self, request: HttpRequest, obj: Scoped | None = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and not (obj and obj.manifest)

    def has_delete_permission(self, request: HttpRequest, obj: Scoped | None = None) -> bool:
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and not (obj and obj.manifest)

    @admin.display(description="For")
    def scope(self, row: Scoped) -> str:
        kind = next(name for name in SCOPE_FIELDS if getattr(row, f"{name}_id"))
        return f"{kind.capitalize()} {row.scope}"


@admin.register(RateLimit)
class RateLimitAdmin(ScopedAdmin):
    form = ScopedLimitForm
    list_display = ("scope", "amount", "metric", "window")
    list_filter = (
        ScopeFilter,
        ("metric", ChoicesDropdownFilter),
        ("window_s", ChoicesDropdownFilter),
    )
    fields = (*SCOPE_FIELDS, "metric", "amount", "window_s")

    @admin.display(description="Window", ordering="window_s")
    def window(self, limit: RateLimit) -> str:
        concurrent = limit.metric == RateLimit.Metric.CONCURRENCY
        return "at the same time" if concurrent else limit.get_window_s_display()


@admin.register(Budget)
class BudgetAdmin(ScopedAdmin):
    form = ScopedBudgetForm
    list_display = ("scope", "amount", "period", "hard")
    list_filter = (ScopeFilter, ("period", ChoicesDropdownFilter), "hard")
    fields = (*SCOPE_FIELDS, "amount", "period", "hard")
