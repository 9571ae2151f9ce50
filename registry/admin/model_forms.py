"""The form of a model: what it can do, and which models take over what it cannot serve."""

from __future__ import annotations

from typing import Any

from registry.admin.capability_forms import CapabilityForm
from registry.admin.policy_forms import PatternsField
from registry.models import ServedModel


class ServedModelForm(CapabilityForm):
    context_fallbacks = PatternsField(
        "If a request is too long",
        "Names of models that are tried then, in this order, with commas between.",
    )
    content_fallbacks = PatternsField(
        "If a provider refuses the content",
        "Names of models that are tried then, in this order, with commas between.",
    )

    class Meta:
        model = ServedModel
        fields = "__all__"  # the admin names them

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for name in ("context_fallbacks", "content_fallbacks"):
            for unknown in ServedModel.unknown(cleaned.get(name) or []):
                self.add_error(name, f"There is no model “{unknown}”, or its name is a pattern.")
        return cleaned
