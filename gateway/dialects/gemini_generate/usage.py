"""Gemini's usageMetadata (ai.google.dev/api/generate-content#UsageMetadata)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.dialects.base import Json, integer, items, mapping
from lib.tokens import TokenUsage


def read_usage(usage: Any) -> TokenUsage | None:
    """The classes of an answer's tokens, disjoint, and none larger than its whole.

    What tools of Google's own read is counted beside the prompt, thoughts beside the answer.
    """
    if not isinstance(usage, dict) or usage.get("promptTokenCount") is None:
        return None
    thoughts = integer(usage.get("thoughtsTokenCount"))
    given = integer(usage["promptTokenCount"]) + integer(usage.get("toolUsePromptTokenCount"))
    output = integer(usage.get("candidatesTokenCount")) + thoughts
    cached = min(integer(usage.get("cachedContentTokenCount")), given)
    audio_in = _audio(usage, "promptTokensDetails") - _audio(usage, "cacheTokensDetails")
    return TokenUsage(
        input_tokens=given,
        cached_input_tokens=cached,
        output_tokens=output,
        reasoning_tokens=thoughts,
        audio_input_tokens=min(max(audio_in, 0), given - cached),
        audio_output_tokens=min(_audio(usage, "candidatesTokensDetails"), output - thoughts),
    )


def knows_output(usage: Any, *, finished: bool) -> bool:
    """Whether the figures in an event hold the output so far: some models give it at the end."""
    return finished or mapping(usage).get("candidatesTokenCount") is not None


def write_usage(used: TokenUsage) -> Json:
    """The same as Google would put it; classes that are zero are left out."""
    answered = used.output_tokens - used.reasoning_tokens
    usage: Json = {
        "promptTokenCount": used.input_tokens,
        "candidatesTokenCount": answered,
        "totalTokenCount": used.total_tokens,
    }
    if used.cached_input_tokens:
        usage["cachedContentTokenCount"] = used.cached_input_tokens
    if used.reasoning_tokens:
        usage["thoughtsTokenCount"] = used.reasoning_tokens
    if used.audio_input_tokens:
        usage["promptTokensDetails"] = _by_modality(used.input_tokens, used.audio_input_tokens)
    if used.audio_output_tokens:
        usage["candidatesTokensDetails"] = _by_modality(answered, used.audio_output_tokens)
    return usage


def _audio(usage: Mapping[str, Any], name: str) -> int:
    details = usage.get(name)
    if not details:
        return 0
    sounds = (each for each in map(mapping, items(details)) if each.get("modality") == "AUDIO")
    return sum(integer(each.get("tokenCount")) for each in sounds)


def _by_modality(total: int, audio: int) -> list[Json]:
    return [
        {"modality": "TEXT", "tokenCount": total - audio},
        {"modality": "AUDIO", "tokenCount": audio},
    ]
