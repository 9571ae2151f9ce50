"""Prices in the admin: the form, and the list over all models."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter, RangeDateTimeFilter

from registry.admin.autocomplete import Autocompletes
from registry.admin.labels import label
from registry.models import Price

FIGURES = ("input", "output", "cached_input", "cache_write")


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """US dollars per million tokens; nothing but a tick for a model that is free."""

    class Meta:
        model = Price
        fields = ("starts_at", "free", *FIGURES)
        help_texts: ClassVar[dict[str, str]] = {
            "starts_at": "In UTC.",
            "free": "It costs nothing, which is not the same as having no price.",
            "input": "US dollars per million tokens.",
            "output": "US dollars per million tokens.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("input", "output"):
            if name in self.fields:
                self.fields[name].required = False
        for name in FIGURES:
            if self.initial.get(name) is not None:
                self.initial[name] = without_zeros(self.initial[name])

    def clean_input(self) -> Decimal:
        return self.cleaned_data["input"] or Decimal(0)

    def clean_output(self) -> Decimal:
        return self.cleaned_data["output"] or Decimal(0)

    def clean(self) -> dict[str, Any] | None:
        values = self.cleaned_data
        figures = any(values.get(name) for name in FIGURES)
        if not values.get("free") and not figures and not self.errors:
            raise ValidationError({"input": "Enter what it costs, or tick “free”."})
        return values


class InForceFilter(admin.SimpleListFilter):
    """Whether a price holds now, will, or did."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("now", "In force"), ("later", "To come"), ("past", "Replaced")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Price]) -> QuerySet[Price]:
        now = timezone.now()
        match self.value():
            case "now":
                return queryset.filter(~successor(now), starts_at__lte=now)
            case "later":
                return queryset.filter(starts_at__gt=now)
            case "past":
                return queryset.filter(successor(now))
        return queryset


def successor(now: datetime) -> Exists:
    """Whether a later price of the same model has begun."""
    later = Price.objects.filter(model=OuterRef("model"), starts_at__gt=OuterRef("starts_at"))
    return Exists(later.filter(starts_at__lte=now))


def without_zeros(figure: Decimal) -> Decimal:
    """The same number without zeros at its end: 2.5 for 2.500000, and 10 for 10."""
    return Decimal(f"{figure.normalize():f}")


def dollars(figure: Decimal | None) -> str:
    """A price per million tokens as people write it: $0.15, $2.50."""
    if figure is None:
        return "as input"
    plain = without_zeros(figure)
    return f"${plain:,.2f}" if plain == round(plain, 2) else f"${plain}"


@admin.register(Price)
class PriceAdmin(Autocompletes, ModelAdmin):
    form = PriceForm
    fields = ("model", *PriceForm.Meta.fields)
    list_display = ("model", "starts_at", "state", "per_input", "per_cached", "per_output")
    list_filter = (
        InForceFilter,
        "free",
        ("model", AutocompleteSelectFilter),
        ("starts_at", RangeDateTimeFilter),
    )
    list_filter_submit = True
    list_select_related = ("model",)
    search_fields = ("model__name",)
    search_help_text = "Model"
    autocomplete_fields = ("model",)
    date_hierarchy = "starts_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Price]:
        queryset: QuerySet[Price] = super().get_queryset(request)
        return queryset.annotate(replaced=successor(timezone.now()))

    def has_change_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return super().has_change_permission(request, obj) and not _is_managed(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not _is_managed(obj)

    @admin.display(description="State")
    def state(self, price: Any) -> str:
        if price.starts_at > timezone.now():
            return label("to come", "info")
        if price.replaced:
            return label("replaced")
        return label("free", "success") if price.free else label("in force", "success")

    @admin.display(description="Input / 1M", ordering="input")
    def per_input(self, price: Price) -> str:
        return "free" if price.free else dollars(price.input)

    @admin.display(description="Cached input / 1M", ordering="cached_input")
    def per_cached(self, price: Price) -> str:
        return "free" if price.free else dollars(price.cached_input)

    @admin.display(description="Output / 1M", ordering="output")
    def per_output(self, price: Price) -> str:
        return "free" if price.free else dollars(price.output)


def _is_managed(price: Price | None) -> bool:
    return bool(price and price.model.managed_by)
