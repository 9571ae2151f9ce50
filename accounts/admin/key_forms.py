"""The forms of API keys: what they may use, and how long a former secret works on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelect2Widget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from accounts.models import MODEL_PATTERN, ApiKey, Plan, Team

OPERATIONS = (
    "chat",
    "completions",
    "responses",
    "messages",
    "embeddings",
    "generate_content",
    "rerank",
    "moderations",
    "images",
    "models",
    "speech",
    "transcriptions",
)
GRACES = {
    "0": ("None: the former secret stops working now", timedelta(0)),
    "1h": ("1 hour", timedelta(hours=1)),
    "24h": ("24 hours", timedelta(days=1)),
    "7d": ("7 days", timedelta(days=7)),
}


class LinesField(forms.CharField):
    """A list of texts, written one per line. Empty lines and repetitions are dropped."""

    widget = UnfoldAdminTextareaWidget

    def __init__(self, *, check: Callable[[str], str | None], **kwargs: Any) -> None:
        super().__init__(required=False, **kwargs)
        self._check = check
        self.widget.attrs["rows"] = 4

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        lines = (line.strip() for line in (value or "").splitlines())
        return list(dict.fromkeys(line for line in lines if line))

    def validate(self, value: Any) -> None:
        complaints = [complaint for line in value if (complaint := self._check(line))]
        if complaints:
            raise ValidationError(complaints)

    def run_validators(self, value: Any) -> None:
        """Those of CharField are for a single text."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(initial != self.to_python(data))


def _complaint_about_model(pattern: str) -> str | None:
    if MODEL_PATTERN.fullmatch(pattern):
        return None
    return (
        f"“{pattern}” cannot be the name of a model. Use letters, digits and . _ : / @ + - "
        "with * as a wildcard, one name per line."
    )


def _complaint_about_endpoint(pattern: str) -> str | None:
    if any(fnmatchcase(operation, pattern) for operation in OPERATIONS):
        return None
    return f"There is no endpoint “{pattern}”. There are {', '.join(OPERATIONS)}, and * for all."


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    allowed_models = LinesField(
        check=_complaint_about_model,
        initial=["*"],
        help_text="One per line, such as gpt-4o or vendor/*. Empty allows nothing.",
    )
    allowed_endpoints = LinesField(
        check=_complaint_about_endpoint,
        initial=["*"],
        help_text=f"One per line: {', '.join(OPERATIONS)}, or * for all. Empty allows nothing.",
    )

    class Meta:
        model = ApiKey
        fields = (
            "team",
            "name",
            "owner",
            "plan",
            "allowed_models",
            "allowed_endpoints",
            "expires_at",
        )

    def clean_team(self) -> Team:
        team: Team = self.cleaned_data["team"]
        if team.archived_at:
            raise ValidationError(f"{team} is archived. Restore it first, or choose another team.")
        return team

    def clean_expires_at(self) -> datetime | None:
        moment: datetime | None = self.cleaned_data["expires_at"]
        if moment and "expires_at" in self.changed_data and moment <= timezone.now():
            raise ValidationError("This moment has passed. Choose one that is to come.")
        return moment

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        team = values.get("team") or (self.instance.pk and self.instance.team)
        if team and "name" in values and self._is_taken(team, values["name"]):
            self.add_error("name", f"The team {team} has a key of this name already.")
        return values

    def _is_taken(self, team: Any, name: str) -> bool:
        others = ApiKey.objects.filter(team=team, name=name, revoked_at=None)
        return not self.instance.revoked_at and others.exclude(pk=self.instance.pk).exists()


class GraceForm(forms.Form):
    grace = forms.ChoiceField(
        label="The former secret works on for",
        choices=[(value, text) for value, (text, _) in GRACES.items()],
        initial="24h",
        widget=UnfoldAdminSelectWidget,
    )


class PlanForm(forms.Form):
    plan = forms.ModelChoiceField(
        Plan.objects.all(),
        required=False,
        empty_label="No plan",
        widget=UnfoldAdminSelect2Widget,
    )
