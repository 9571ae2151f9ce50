"""Models as Google lists them (ai.google.dev/api/models)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.dialects.base import Json
from registry.capabilities import Capabilities

#: What a model can be asked, for all that is known of it.
METHODS = (
    "generateContent",
    "streamGenerateContent",
    "countTokens",
    "embedContent",
    "batchEmbedContents",
)


def are_asked_for(headers: Mapping[str, str]) -> bool:
    """Whether the client is one of Google's, where the path does not say so."""
    return "x-goog-api-key" in headers or "x-goog-api-client" in headers


def listed(models: Sequence[Json]) -> Json:
    """All of them, on one page."""
    return {"models": list(models)}


def described(name: str, description: str, capabilities: Capabilities) -> Json:
    """One model. What nobody has said of it is left out."""
    limits = {
        "inputTokenLimit": capabilities.context_window,
        "outputTokenLimit": capabilities.output_limit,
    }
    return {
        "name": f"models/{name}",
        "displayName": name,
        "description": description,
        **{limit: tokens for limit, tokens in limits.items() if tokens is not None},
        "supportedGenerationMethods": list(METHODS),
    }
