"""Fields that say what a model or a route can do, in forms: not known, yes, or no."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminNullBooleanSelectWidget,
)

from registry.capabilities import COUNTS, TRAITS
from registry.models import Route
from registry.traits import TRAITS as CERTIFIABLE


class Rows(tuple[Any, ...]):
    """Rows of a form that know the fields in them, so that Django opens what holds a mistake."""

    def __contains__(self, name: object) -> bool:
        return any(name in row if isinstance(row, tuple) else name == row for row in self)


#: As rows of a form: what belongs together stands together.
ROWS = (
    ("context_window", "output_limit"),
    ("tools", "parallel_tools"),
    ("json_schema", "logprobs"),
    ("vision", "documents"),
    ("audio_input", "reasoning"),
    "batch_limit",
)
OF_MODELS = (
    "What the model can do, as far as you know. Courier asks a route that can serve the request. "
    "If none can, it does what is chosen below. Nothing is ever guessed: “not known” is tried."
)
OF_ROUTES = "Only what differs from the model's own page. “As the model” leaves it as it is there."


class KnowledgeSelect(UnfoldAdminNullBooleanSelectWidget):
    """Yes, no, and a word for the third."""

    def __init__(self, unknown: str) -> None:
        super().__init__()
        self.choices = [("unknown", unknown), ("true", "Yes"), ("false", "No")]


def say_of_unknown(form: forms.BaseForm, word: str) -> None:
    """Offer `word` where nothing is known, in the fields that the form has."""
    for name in TRAITS:
        if name in form.fields:
            form.fields[name].widget = KnowledgeSelect(word)


class RouteForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """What a route can do that its model cannot, or the other way; and what it must prove."""

    requires_certified = forms.MultipleChoiceField(
        label="Only if certified for",
        choices=list(CERTIFIABLE.items()),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="The route is used only while the newest certification has passed all of these. "
        "None ticked: it is used as it is.",
    )

    class Meta:
        model = Route
        fields = ("priority", "weight", "enabled", *COUNTS, *TRAITS, "requires_certified")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        say_of_unknown(self, "As the model")
        for name in COUNTS:
            if name in self.fields:
                told = str(self.fields[name].help_text)
                self.fields[name].help_text = told.replace("not known", "as the model")


class CapabilityForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """A form of a model with what it can do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        say_of_unknown(self, "Not known")
