"""The kinds of provider: key, label, and where the adapter is. The one registry line of each.

Adapters live in `gateway`, above this layer; a dotted path lets the admin offer the
kinds without importing upwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings

PROVIDER_KINDS: dict[str, tuple[str, str]] = {
    "anthropic": ("Anthropic", "gateway.providers.anthropic.Anthropic"),
    "azure": ("Azure OpenAI", "gateway.providers.azure.Azure"),
    "bedrock": ("Amazon Bedrock", "gateway.providers.bedrock.Bedrock"),
    "chaos": ("Chaos (fails on demand)", "gateway.providers.builtin.Chaos"),
    "cohere": ("Cohere", "gateway.providers.cohere.Cohere"),
    "echo": ("Echo (answers at once)", "gateway.providers.builtin.Echo"),
    "gemini": ("Google Gemini", "gateway.providers.gemini.Gemini"),
    "generic": ("Generic (you describe it)", "gateway.providers.generic.Generic"),
    "ollama": ("Ollama", "gateway.providers.openai.Ollama"),
    "openai": ("OpenAI", "gateway.providers.openai.OpenAI"),
    "openai_compatible": ("OpenAI-compatible", "gateway.providers.openai.OpenAICompatible"),
    "tei": ("Text Embeddings Inference", "gateway.providers.tei.TEI"),
    "vllm": ("vLLM", "gateway.providers.openai.VLLM"),
}

#: Kinds for trying and testing that a production installation does not offer.
DEVELOPMENT_ONLY = frozenset({"chaos"})

#: Kinds that answer nobody without an upstream key.
NEEDS_KEY = frozenset({"anthropic", "azure", "bedrock", "cohere", "gemini", "openai"})

#: Kinds whose options must say a region.
NEEDS_REGION = frozenset({"bedrock"})

#: Kinds whose paths say the version of an API.
VERSIONED = frozenset({"azure"})

#: Kinds of servers that may speak more formats than the one that they are known for.
SPEAK_MORE = frozenset({"ollama", "openai_compatible", "vllm"})

#: Kinds whose options are a form of their own, and are checked where that is.
OWN_OPTIONS = frozenset({"generic"})

#: Base URLs of kinds that have one; the others must be given theirs. `{region}` is an option.
DEFAULT_BASE_URLS = {
    "anthropic": "https://api.anthropic.com/v1",
    "bedrock": "https://bedrock-runtime.{region}.amazonaws.com",
    "chaos": "chaos://local",
    "cohere": "https://api.cohere.com",
    "echo": "echo://local",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
    "ollama": "http://127.0.0.1:11434/v1",
    "openai": "https://api.openai.com/v1",
    "tei": "http://127.0.0.1:8080",
    "vllm": "http://127.0.0.1:8000/v1",
}

#: A region's name becomes a part of a host's.
REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")


#: What a base URL must end with, of kinds whose adapter writes the rest of the path.
BASE_URL_ENDS = {"azure": re.compile(r"//[^/]+(/(?!openai/)[^/]+)*(/openai(/v1)?)?")}


def has_its_end(kind: str, url: str) -> bool:
    """Whether a base URL ends where the kind's paths begin."""
    end = BASE_URL_ENDS.get(kind)
    return end is None or end.fullmatch(url.partition(":")[2]) is not None


def default_base_url(kind: str, options: Mapping[str, Any]) -> str:
    """The kind's own base URL; empty if it has none, or for lack of a region."""
    url = DEFAULT_BASE_URLS.get(kind, "")
    region = str(options.get("region", ""))
    if "{region}" in url and not REGION.fullmatch(region):
        return ""
    return url.replace("{region}", region)


def provider_kinds() -> list[tuple[str, str]]:
    """Choices for `Provider.kind`. A callable, so that a new kind makes no migration."""
    return [(kind, label) for kind, (label, _) in PROVIDER_KINDS.items() if is_offered(kind)]


def is_offered(kind: str) -> bool:
    """Whether this installation may use providers of this kind."""
    return kind in PROVIDER_KINDS and not (settings.PRODUCTION and kind in DEVELOPMENT_ONLY)
