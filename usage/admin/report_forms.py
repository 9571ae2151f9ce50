"""The form of a saved report, which complains at the field that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from unfold.widgets import (
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from accounts.admin.key_forms import LinesField
from accounts.admin.teams import time_zone_widget
from accounts.models import ApiKey, Team, User
from registry.admin.autocomplete import TolerantAutocompletes
from registry.models import Provider, ServedModel
from usage.models import ReportDefinition, TeamTag, UsageRecord
from usage.pieces import BY_TIME, HoursDoNotAlign
from usage.report_questions import Question

CURRENCY = re.compile("[A-Z]{3}")
#: Filters that are kept as ids, and what has those.
ROWS: dict[str, Any] = {"team": Team, "user": User, "key": ApiKey}
#: Tags that can be chosen. Beyond them, one has to export and look for oneself.
MOST_TAGS = 2_000


class RowsField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    """Rows that are looked up while one types, kept as ids."""

    def __init__(self, model: Any, column: str, **kwargs: Any) -> None:
        # The search asks in the name of a relation that there is.
        relation: Any = UsageRecord._meta.get_field(column)
        widget = TolerantAutocompletes(relation, admin.site)
        super().__init__(model.objects.all(), required=False, widget=widget, **kwargs)

    def clean(self, value: Any) -> list[int]:  # type: ignore[override]  # kept as ids
        return sorted(row.pk for row in super().clean(value))


class NamesField(forms.MultipleChoiceField):
    """Names that there are, and those that the report has already."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, widget=UnfoldAdminSelect2MultipleWidget, **kwargs)

    def offer(self, names: Iterable[str], chosen: Iterable[str]) -> None:
        self.choices = [(name, name) for name in sorted({*names, *chosen})]

    def clean(self, value: Any) -> list[str]:
        return sorted(super().clean(value))


def _complaint_about_address(address: str) -> str | None:
    try:
        validate_email(address)
    except ValidationError:
        return f"“{address}” is no email address. Write one address per line."
    return None


class ReportForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    only_team = RowsField(Team, "team", label="Teams")
    only_user = RowsField(User, "user", label="Users")
    only_key = RowsField(ApiKey, "key", label="API keys")
    only_model = NamesField(label="Models")
    only_provider = NamesField(label="Providers")
    only_tag = NamesField(label="Tags")
    recipients = LinesField(
        check=_complaint_about_address,
        help_text="Email addresses, one per line. They are sent a link when a scheduled report "
        "is there, and none of its figures.",
    )

    FILTERS = ("team", "user", "key", "model", "provider", "tag")

    class Meta:
        model = ReportDefinition
        fields = (
            "name", "first_dimension", "second_dimension", "period", "first_day", "last_day",
            "time_zone", "currency", "rate", "format", "schedule", "recipients",
        )  # fmt: skip
        widgets: ClassVar[dict[str, forms.Widget]] = {"time_zone": time_zone_widget()}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = self.instance.filters if isinstance(self.instance.filters, dict) else {}
        for name in self.FILTERS:
            self.initial[f"only_{name}"] = chosen.get(name, [])
        for name, names in _names().items():
            self.fields[f"only_{name}"].offer(names, map(str, chosen.get(name, [])))  # type: ignore[attr-defined]

    def clean_currency(self) -> str:
        code: str = self.cleaned_data["currency"].upper()
        if not CURRENCY.fullmatch(code):
            raise ValidationError("Enter a code of three letters, such as USD or EUR.")
        return code

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        self._check_dimensions(values)
        self._check_days(values)
        self._check_currency(values)
        if not self.errors:
            self._check_question(values)
        return values

    def _check_dimensions(self, values: dict[str, Any]) -> None:
        first, second = values.get("first_dimension"), values.get("second_dimension")
        if first and first == second:
            self.add_error("second_dimension", "Choose another one than the first.")
        elif first in BY_TIME and second in BY_TIME:
            self.add_error("second_dimension", "Only one of the two can be a unit of time.")
        if second != "tag" != first and len(values.get("only_tag", ())) > 1:
            self.add_error(
                "only_tag",
                "Choose one tag, or make the report by tag: a request with two tags would "
                "count twice.",
            )

    def _check_days(self, values: dict[str, Any]) -> None:
        if values.get("period") != ReportDefinition.Period.FIXED:
            values["first_day"] = values["last_day"] = None
            return
        first, last = values.get("first_day"), values.get("last_day")
        for name, day in (("first_day", first), ("last_day", last)):
            if not day and name not in self.errors:
                self.add_error(name, "Enter a day, or choose another period.")
        if first and last and last < first:
            self.add_error("last_day", "Enter a day that is not before the first.")
        if values.get("schedule") != ReportDefinition.Schedule.NEVER:
            self.add_error("schedule", "A report from one day to another is made on demand.")

    def _check_currency(self, values: dict[str, Any]) -> None:
        if values.get("currency") == "USD" and values.get("rate", 1) != 1:
            self.add_error("rate", "A US dollar is one US dollar: enter 1, or another currency.")

    def _check_question(self, values: dict[str, Any]) -> None:
        """Whether the time zone has hours that hourly sums fit."""
        if "hour" not in (values["first_dimension"], values["second_dimension"]):
            return
        some_day = values["first_day"] or self.instance.created_at.date()
        try:
            Question(("hour",), some_day, some_day, values["time_zone"]).buckets()
        except HoursDoNotAlign as error:
            self.add_error("time_zone", str(error))

    def save(self, commit: bool = True) -> Any:
        chosen = {name: self.cleaned_data[f"only_{name}"] for name in self.FILTERS}
        self.instance.filters = {name: values for name, values in chosen.items() if values}
        return super().save(commit)


def _names() -> dict[str, Iterable[str]]:
    tags = TeamTag.objects.order_by("tag").values_list("tag", flat=True).distinct()
    return {
        "model": ServedModel.objects.values_list("name", flat=True),
        "provider": Provider.objects.values_list("name", flat=True),
        "tag": tags[:MOST_TAGS],
    }


def in_words(filters: dict[str, list[Any]]) -> str:
    """What a report leaves in: "team: research; model: large, small". Empty: everything."""
    told = [f"{name}: {', '.join(_named(name, values))}" for name, values in filters.items()]
    return "; ".join(told)


def _named(name: str, values: list[Any]) -> list[str]:
    if name not in ROWS:
        return sorted(map(str, values))
    names = {row.pk: str(row) for row in ROWS[name].objects.filter(pk__in=values)}
    return [names.get(value, f"{value} (deleted)") for value in values]


class FileForm(forms.Form):
    format = forms.ChoiceField(
        choices=ReportDefinition.Format.choices, widget=UnfoldAdminSelectWidget
    )


class AsOfForm(forms.Form):
    """The moment that a report is made as of. Empty: the newest that is certain."""

    as_of = forms.DateTimeField(
        required=False,
        label="As of (UTC)",
        error_messages={"invalid": "Enter a moment such as 2026-10-31 18:00, or nothing for now."},
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "now"}),
    )
