"""The forms of budgets: of one's own, inside of a key, team, user or plan, and of a raise."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextInputWidget,
)

from accounts.admin.scopes import SCOPE_FIELDS, OneScope
from accounts.models import LARGEST_BUDGET, Budget, check_thresholds, usual_thresholds
from registry.admin.price_forms import without_zeros
from registry.admin.rows import UniqueRows

FIELDS = ("amount", "period", "window", "counting", "hard", "thresholds")
UNIQUE = ("window", "period")
TWICE = "There is already a budget for this period and window. Change that one."
TOO_MUCH = f"A budget is at most ${LARGEST_BUDGET:,}. Beyond that cents would be lost."
#: What is spent before this moment does not count. Chosen, never assumed.
ALL, FROM_NOW = "all", "now"
COUNTING = (
    (ALL, "Yes: all that was spent in this period counts"),
    (FROM_NOW, "No: only what is spent from now on"),
)


class PercentagesField(forms.CharField):
    """Whole percentages, with commas between them. Repetitions are dropped."""

    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        words = [word.strip().removesuffix("%").strip() for word in (value or "").split(",")]
        given = [word for word in words if word]
        if not all(word.isascii() and word.isdecimal() for word in given):
            check_thresholds(given)
        return sorted({int(word) for word in given})

    def validate(self, value: Any) -> None:
        check_thresholds(value)

    def run_validators(self, value: Any) -> None:
        """Those of CharField are for a single text."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(initial != self.to_python(data))
        except ValidationError:
            return True


class BudgetForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """A budget. It asks whether what was spent already counts, wherever that can be asked."""

    thresholds = PercentagesField(
        label="Alert at percent",
        required=False,
        initial=usual_thresholds,
        help_text="With commas between them. Each raises one alert per period.",
    )
    counting = forms.ChoiceField(
        label="Count what was spent already",
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="Asked for a new budget, and whenever its period or window changes.",
    )

    class Meta:
        model = Budget
        fields: tuple[str, ...] = FIELDS
        error_messages = {
            "amount": {"max_value": TOO_MUCH, "min_value": "A budget is 0 or more."},
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.initial.get("amount") is not None:
            self.initial["amount"] = without_zeros(self.initial["amount"])
        if "counting" in self.fields:
            field: Any = self.fields["counting"]
            field.choices = [("", _as_it_is(self.instance)), *COUNTING]

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        match values.get("counting"):
            case "all":
                self.instance.counts_from = None
            case "now":
                self.instance.counts_from = timezone.now()
            case "" if self._must_choose():
                self.add_error("counting", "Choose whether what was spent already counts.")
        return values

    def _must_choose(self) -> bool:
        is_new = self.instance._state.adding
        return is_new or bool({"period", "window"} & set(self.changed_data))


def _as_it_is(budget: Budget) -> str:
    if budget._state.adding:
        return "Choose…"
    return f"As it is: {counted(budget)}"


def counted(budget: Budget) -> str:
    """What of the spending counts, in words."""
    if budget.counts_from is None:
        return "all of the period"
    return f"from {timezone.localtime(budget.counts_from):%Y-%m-%d %H:%M %Z} on"


class ScopedBudgetForm(BudgetForm, OneScope):
    unique = UNIQUE
    complaint = TWICE

    class Meta(BudgetForm.Meta):
        fields = (*SCOPE_FIELDS, *FIELDS)


class BudgetFormSet(UniqueRows):
    unique = UNIQUE
    complaint = TWICE


class RaiseForm(forms.Form):
    """How much more, until when, and why."""

    amount = forms.DecimalField(
        label="Additional amount in US dollars",
        min_value=Decimal("0.000001"),
        max_value=LARGEST_BUDGET,
        max_digits=14,
        decimal_places=6,
        widget=UnfoldAdminDecimalFieldWidget,
        error_messages={"max_value": TOO_MUCH, "min_value": "Enter more than nothing."},
    )
    until = forms.SplitDateTimeField(
        label="Until, in UTC",
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text="Then it ends by itself.",
    )
    reason = forms.CharField(
        max_length=300,
        widget=UnfoldAdminTextInputWidget,
        help_text="It is kept with your name.",
    )

    def clean_until(self) -> datetime:
        moment: datetime = self.cleaned_data["until"]
        if moment <= timezone.now():
            raise ValidationError("This moment has passed. Choose one that is to come.")
        return moment
