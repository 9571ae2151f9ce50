"""The form of a provider: what only its kind needs to know is asked in fields of its own."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from registry import options
from registry.admin import generic_forms
from registry.admin.generic_forms import DESCRIPTION
from registry.kinds import OWN_OPTIONS
from registry.models import Provider
from registry.options import OPTIONS

#: As the admin names the fields, by option.
FIELDS = {option.name: f"option_{option.name}" for option in OPTIONS}
#: For which kinds each is shown, as the page's script reads it.
SHOWN_IF = {
    FIELDS[option.name]: " || ".join(f"kind == '{kind}'" for kind in sorted(option.kinds))
    for option in OPTIONS
} | {DESCRIPTION: generic_forms.SHOWN_IF}


def field_of(name: str) -> forms.Field:
    """The field that asks for an option."""
    option = next(each for each in OPTIONS if each.name == name)
    given: dict[str, Any] = {"label": option.label, "help_text": option.help, "required": False}
    if option.choices is None:
        return forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget, **given)
    widget = UnfoldAdminCheckboxSelectMultipleWidget
    return forms.MultipleChoiceField(choices=list(option.choices.items()), widget=widget, **given)


class ProviderForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """A provider. Options of other kinds than the chosen one are forgotten."""

    option_api_version = field_of("api_version")
    option_region = field_of("region")
    option_speaks = field_of("speaks")
    option_keeps = field_of("keeps")
    description = generic_forms.description_field()

    class Media:
        css = {"all": ("courier/describe.css",)}

    class Meta:
        model = Provider
        fields = ("name", "kind", "base_url", "enabled")
        error_messages = {"name": {"invalid": "Use letters, digits, hyphens and underscores only."}}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for option in OPTIONS:
            name = FIELDS[option.name]
            if name in self.fields:
                self.initial[name] = self.instance.options.get(option.name)
        if DESCRIPTION in self.fields:
            self.fields[DESCRIPTION].help_text = generic_forms.help_text()
            if self.instance.kind in OWN_OPTIONS:
                self.initial[DESCRIPTION] = generic_forms.text_of(self.instance.options)

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        kind = values.get("kind", "")
        if kind in OWN_OPTIONS:
            described, wrong = generic_forms.read(values.get(DESCRIPTION, ""))
            if wrong:
                self.add_error(DESCRIPTION, [ValidationError(each) for each in wrong])
            else:
                self.instance.options = described
            return values
        given = {}
        for name, option in options.options_of(kind).items():
            given[name] = values.get(FIELDS[name]) or None
            if complaint := option.complaint(given[name]):
                self.add_error(FIELDS[name], complaint.partition(": ")[2])
        self.instance.options = {name: value for name, value in given.items() if value}
        return values
