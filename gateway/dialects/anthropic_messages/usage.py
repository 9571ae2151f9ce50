"""Anthropic's usage object, whose classes are disjoint where Courier's are parts of a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.dialects.base import Json, integer, mapping
from lib.tokens import TokenUsage

#: Tokens of the input, each counted in one of these only.
_INPUT = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def merged(before: Json, told: Any) -> Json:
    """The usage object of a stream after one more of its reports.

    Reports are cumulative: what a later one says replaces what was said before. Some servers
    repeat the input as zeros that mean nothing.
    """
    said = {name: value for name, value in mapping(told).items() if value is not None}
    if not any(integer(said.get(name)) for name in _INPUT):
        said = {name: value for name, value in said.items() if name not in _INPUT}
    if "cache_creation_input_tokens" in said and "cache_creation" not in said:
        said["cache_creation"] = _grown(before, integer(said["cache_creation_input_tokens"]))
    return {**before, **said}


def _grown(before: Json, written: int) -> Json:
    """How what was written is split, where only its first part was said to be.

    With tools of the server the first report covers the first step. Later steps write for as
    long as the first did; where it did both, five minutes is what is written by default.
    """
    split = mapping(before.get("cache_creation"))
    hour = integer(split.get("ephemeral_1h_input_tokens"))
    if hour and not integer(split.get("ephemeral_5m_input_tokens")):
        hour = written
    hour = min(hour, written)
    return {"ephemeral_1h_input_tokens": hour, "ephemeral_5m_input_tokens": written - hour}


def read_usage(usage: Any) -> TokenUsage | None:
    """What an answer used; None where the object says nothing."""
    if not isinstance(usage, dict):
        return None
    if usage.get("input_tokens") is None and usage.get("output_tokens") is None:
        return None
    cached = integer(usage.get("cache_read_input_tokens"))
    written, written_1h = _written(usage)
    output = integer(usage.get("output_tokens"))
    thought = integer(mapping(usage.get("output_tokens_details")).get("thinking_tokens"))
    return TokenUsage(
        input_tokens=integer(usage.get("input_tokens")) + cached + written,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=written_1h,
        output_tokens=output,
        reasoning_tokens=min(thought, output),
        search_units=integer(mapping(usage.get("server_tool_use")).get("web_search_requests")),
    )


def _written(usage: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens written to the cache, and those of them that are kept for an hour."""
    split = mapping(usage.get("cache_creation"))
    hour = integer(split.get("ephemeral_1h_input_tokens"))
    minutes = integer(split.get("ephemeral_5m_input_tokens"))
    written = integer(usage.get("cache_creation_input_tokens")) or hour + minutes
    return written, min(hour, written)


def written_usage(used: TokenUsage) -> Json:
    """Anthropic's object for what was used. Classes that are zero are told as zero."""
    cached, written = used.cached_input_tokens, used.cache_write_tokens
    usage: Json = {
        "input_tokens": max(used.input_tokens - cached - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": used.output_tokens,
    }
    if written:
        hour = used.cache_write_1h_tokens
        usage["cache_creation"] = {
            "ephemeral_5m_input_tokens": written - hour,
            "ephemeral_1h_input_tokens": hour,
        }
    if used.reasoning_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": used.reasoning_tokens}
    if used.search_units:
        usage["server_tool_use"] = {
            "web_search_requests": used.search_units,
            "web_fetch_requests": 0,
        }
    return usage
