"""The form of a price, on its own page and inside of a model's."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError

from registry.models import Price, Route

#: What the rows inside of a model's page have. The others are on the price's own page.
MAIN_FIGURES = ("input", "output", "cached_input")
#: Names of figures where many stand in one cell.
SHORT = {"cache_write_1h": "1 h write", "search_unit": "search", "audio_input": "audio in"}


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """US dollars; nothing but a tick for a model that is free."""

    class Meta:
        model = Price
        fields: tuple[str, ...] = ("route", "starts_at", "free", *Price.FIGURES)
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
        for name in Price.FIGURES:
            if self.initial.get(name) is not None:
                self.initial[name] = without_zeros(self.initial[name])
        if "route" in self.fields:
            self._offer_routes()

    def _offer_routes(self) -> None:
        """Those of the model alone, once it is known."""
        field: Any = self.fields["route"]
        field.empty_label = "All others"
        if self.instance.model_id is not None:
            field.queryset = field.queryset.filter(model=self.instance.model_id)
            field.label_from_instance = target_of

    def clean_input(self) -> Decimal:
        return self.cleaned_data["input"] or Decimal(0)

    def clean_output(self) -> Decimal:
        return self.cleaned_data["output"] or Decimal(0)

    def clean(self) -> dict[str, Any] | None:
        values = self.cleaned_data
        figures = any(self._figure(name) for name in Price.FIGURES)
        if not values.get("free") and not figures and not self.errors:
            raise ValidationError({"input": "Enter what it costs, or tick “free”."})
        return values

    def _figure(self, name: str) -> Any:
        """As entered; one that the form does not have, as it is."""
        if name in self.fields:
            return self.cleaned_data.get(name)
        return getattr(self.instance, name) if self.instance.pk else None


class PriceRowForm(PriceForm):
    """A price inside of its model's page."""

    class Meta(PriceForm.Meta):
        fields = ("route", "starts_at", "free", *MAIN_FIGURES)


def target_of(route: Route) -> str:
    """Where a route leads, where its model need not be said."""
    return f"{route.provider.name} / {route.upstream_model}"


def without_zeros(figure: Decimal) -> Decimal:
    """The same number without zeros at its end: 2.5 for 2.500000, and 10 for 10."""
    return Decimal(f"{figure.normalize():f}")


def dollars(figure: Decimal | None) -> str:
    """A price as people write it: $0.15, $2.50."""
    if figure is None:
        return "as input"
    plain = without_zeros(figure)
    return f"${plain:,.2f}" if plain == round(plain, 2) else f"${plain}"


def other_figures(price: Price) -> str:
    """The figures that are given beside the main ones, in a line."""
    figures = {name: getattr(price, name) for name in Price.FIGURES if name not in MAIN_FIGURES}
    return ", ".join(f"{_short(name)} {dollars(each)}" for name, each in figures.items() if each)


def _short(figure: str) -> str:
    return SHORT.get(figure, figure.replace("_", " "))
