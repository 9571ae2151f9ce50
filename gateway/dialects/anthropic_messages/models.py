"""Models as Anthropic's clients read of them (docs.claude.com/en/api/models-list)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from gateway.dialects.base import Json
from registry.capabilities import Capabilities


def are_asked_for(headers: Mapping[str, str]) -> bool:
    """Whether a client of Anthropic's is asking: others name no version."""
    return "anthropic-version" in headers


def described(name: str, created_at: datetime, capabilities: Capabilities) -> Json:
    """One model. Its name is all that is shown: an alias or a wildcard has no other."""
    known = {
        "max_input_tokens": capabilities.context_window,
        "max_tokens": capabilities.output_limit,
    }
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": created_at.isoformat(),
        "lifecycle": "active",
        **{field: tokens for field, tokens in known.items() if tokens},
    }


def listed(models: list[Json]) -> Json:
    """All models on one page."""
    return {
        "data": models,
        "has_more": False,
        "first_id": models[0]["id"] if models else None,
        "last_id": models[-1]["id"] if models else None,
    }
