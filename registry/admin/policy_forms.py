"""The form of a routing policy: each condition and each action in a field of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django import forms
from django.db.models import Field
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from registry.capabilities import TRAITS as CAPABILITIES
from registry.models import RoutingPolicy, ServedModel
from registry.policies import DAYS, Actions, Conditions, Words, faults
from registry.traits import TRAITS

#: Of the form's fields: what belongs to which part of a policy.
PARTS: dict[str, tuple[str, type[Words]]] = {
    "when": ("conditions", Conditions),
    "then": ("actions", Actions),
}


class PatternsField(forms.CharField):
    """Patterns with commas between."""

    def __init__(self, label: str, help_text: str) -> None:
        super().__init__(
            label=label,
            help_text=help_text,
            required=False,
            max_length=4000,
            widget=UnfoldAdminTextInputWidget,
        )

    def to_python(self, value: Any) -> Any:
        return [each.strip() for each in (value or "").split(",") if each.strip()]

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list | tuple) else value

    def validate(self, value: Any) -> None:
        """Each pattern is checked with the rest of the policy."""

    def run_validators(self, value: Any) -> None:
        """The same."""


def _count(label: str, help_text: str = "") -> forms.IntegerField:
    return forms.IntegerField(
        label=label,
        help_text=help_text,
        required=False,
        min_value=0,
        widget=UnfoldAdminIntegerFieldWidget,
    )


def _any_of(label: str, choices: Any, help_text: str = "") -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(
        label=label,
        choices=choices,
        help_text=help_text,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )


def _called(capability: str) -> str:
    """As the pages of models call it."""
    field = cast("Field[Any, Any]", ServedModel._meta.get_field(capability))
    name = str(field.verbose_name)
    return f"{name[0].upper()}{name[1:]}"


def _text(label: str, help_text: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        help_text=help_text,
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
    )


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """A routing policy. What is left empty asks and does nothing."""

    when_teams = PatternsField("Teams", "Names, with commas between. * stands for anything.")
    when_keys = PatternsField("Keys", "Names of API keys.")
    when_tags = PatternsField("Tags", "Such as project-x, or env:*.")
    when_models = PatternsField("Models", "As clients ask for them, or as they are served.")
    when_endpoints = PatternsField("Endpoints", "Such as chat, messages, embeddings.")
    when_needs = _any_of(
        "The request needs", [(name, _called(name)) for name in CAPABILITIES], "One of these."
    )
    when_input_tokens_at_least = _count("Input tokens, at least", "By an estimate.")
    when_input_tokens_at_most = _count("Input tokens, at most")
    when_budget_used_at_least = _count(
        "Budget used, percent, at least", "Of the caller's fullest budget, spent and held."
    )
    when_hours = _text("Hours", "Such as 22:00-06:00.")
    when_days = _any_of("Days", [(day, day.capitalize()) for day in DAYS])
    when_time_zone = _text("Time zone", "Such as Europe/Paris. Empty: UTC.")
    then_pin = PatternsField(
        "Pin: only these routes", "A provider's name, or provider/upstream-model. * is anything."
    )
    then_exclude = PatternsField("Exclude: not these routes", "Named in the same way.")
    then_prefer = PatternsField(
        "Prefer: these routes first", "Before all others, whatever their priority."
    )
    then_certified = _any_of(
        "Certified: only routes that are certified for", list(TRAITS.items()), "All of these."
    )
    then_max_cost = forms.DecimalField(
        label="Max cost",
        help_text="US dollars per request, by an estimate. Routes that cost more are not tried.",
        required=False,
        min_value=0,
        max_digits=14,
        decimal_places=9,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    then_last = forms.BooleanField(
        label="Last: look at no later policy", required=False, widget=UnfoldBooleanSwitchWidget
    )

    class Meta:
        model = RoutingPolicy
        fields = ("name", "description", "enabled", "position")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for prefix, (column, _) in PARTS.items():
            told = getattr(self.instance, column)
            told = told if isinstance(told, Mapping) else {}
            self.initial.update({f"{prefix}_{name}": value for name, value in told.items()})

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        for prefix, (column, words) in PARTS.items():
            told = _told(values, f"{prefix}_")
            setattr(self.instance, column, told)
            for place, said in faults(words, told):
                field = f"{prefix}_{place}"
                self.add_error(field if field in self.fields else None, said)
        return values


def _told(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """What was filled in, by the policy's own names, as JSON can hold it."""
    told = {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix) and not _is_left_out(value)
    }
    if "max_cost" in told:
        told["max_cost"] = f"{told['max_cost'].normalize():f}"
    return told


def _is_left_out(value: Any) -> bool:
    """Whether nothing was filled in. A zero was, and it is no `False`."""
    return value is False or value in (None, "", [])
