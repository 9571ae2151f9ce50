"""Words in a colored box, for lists and tables."""

from __future__ import annotations

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from registry.conditions import Level


def label(text: str, level: Level = "plain", *, hint: str = "") -> SafeString:
    """The word as the theme draws it; `hint` appears when the mouse rests on it."""
    context = {"text": text, "variant": level, "label_title": hint}
    return render_to_string("unfold/helpers/label.html", context)
