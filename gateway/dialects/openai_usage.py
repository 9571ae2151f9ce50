"""OpenAI's usage object, as the many servers that speak the format fill it in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.dialects.base import integer, items, mapping
from lib.tokens import TokenUsage


def read_usage(usage: Any) -> TokenUsage | None:
    """The classes of an answer's tokens, disjoint, and none larger than its whole.

    Tolerates what is missing: other people's servers leave out much.
    """
    if not isinstance(usage, dict):
        return None
    if usage.get("prompt_tokens") is None and usage.get("completion_tokens") is None:
        return None  # it says nothing: an empty object is no claim that nothing was used
    cached, written, written_1h = _cache(usage)
    given, beyond = _input(usage, cached + written)
    output, reasoning = _output(usage, beyond)
    cached = min(cached, given)
    written = min(written, given - cached)
    audio_in = integer(mapping(usage.get("prompt_tokens_details")).get("audio_tokens"))
    audio_out = integer(mapping(usage.get("completion_tokens_details")).get("audio_tokens"))
    return TokenUsage(
        input_tokens=given,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(written_1h, written),
        audio_input_tokens=min(audio_in, given - cached - written),
        output_tokens=output,
        reasoning_tokens=reasoning,
        audio_output_tokens=min(audio_out, output - reasoning),
        search_units=_searches(usage),
    )


def read_chunk_usage(chunk: Mapping[str, Any]) -> TokenUsage | None:
    """The usage that a chunk of a stream reports, wherever in it the vendor puts it."""
    places = [
        chunk,
        mapping(chunk.get("x_groq")),  # Groq
        *map(mapping, items(chunk.get("choices"))),  # Moonshot
    ]
    found = (read_usage(place["usage"]) for place in places if place.get("usage"))
    return next((usage for usage in found if usage is not None), None)


def added_up(usages: Iterable[Any]) -> dict[str, int]:
    """The counts of several usage objects, by name."""
    total: dict[str, int] = {}
    for name, count in (pair for usage in usages for pair in mapping(usage).items()):
        if isinstance(count, int):
            total[name] = total.get(name, 0) + integer(count)
    return total


def _cache(usage: Mapping[str, Any]) -> tuple[int, int, int]:
    """Tokens read from a cache, written to one, and of those the ones kept for an hour."""
    details = mapping(usage.get("prompt_tokens_details"))
    cached = _first(
        details.get("cached_tokens"),
        usage.get("cached_tokens"),  # Moonshot, Together
        usage.get("prompt_cache_hit_tokens"),  # DeepSeek
        usage.get("cache_read_input_tokens"),  # LiteLLM, and others in front of Anthropic
    )
    written = _first(
        details.get("cache_write_tokens"),  # OpenAI, OpenRouter
        details.get("cache_creation_tokens"),
        usage.get("cache_creation_input_tokens"),
    )
    by_time = usage.get("cache_creation") or details.get("cache_creation_token_details")
    return cached, written, integer(mapping(by_time).get("ephemeral_1h_input_tokens"))


def _input(usage: Mapping[str, Any], of_cache: int) -> tuple[int, int]:
    """All tokens of the input, and those of the total that neither side accounts for.

    Some servers in front of Anthropic count what the cache read and wrote beside the prompt.
    """
    given, answered = integer(usage.get("prompt_tokens")), integer(usage.get("completion_tokens"))
    beyond = max(integer(usage.get("total_tokens")) - given - answered, 0)
    if beyond and beyond == of_cache:
        return given + of_cache, 0
    return given, beyond


def _output(usage: Mapping[str, Any], beyond: int) -> tuple[int, int]:
    """All tokens of the output, and those of them that were thought.

    xAI and Google count thinking beside the completion: only their total tells.
    """
    details = mapping(usage.get("completion_tokens_details"))
    answered = integer(usage.get("completion_tokens"))
    reasoning = integer(details.get("reasoning_tokens"))
    if beyond and reasoning in (0, beyond) and usage.get("completion_tokens") is not None:
        return answered + beyond, beyond
    return answered, min(reasoning, answered)


def _searches(usage: Mapping[str, Any]) -> int:
    """Searches of the web that the vendor made and charges one by one."""
    tools = mapping(usage.get("server_tool_use"))
    return _first(tools.get("web_search_requests"), usage.get("num_search_queries"))


def _first(*counts: Any) -> int:
    """The first of these that says anything."""
    for told in counts:
        if count := integer(told):
            return count
    return 0


def write_usage(usage: TokenUsage) -> dict[str, Any]:
    """The object that clients of chat completions are told."""
    given: dict[str, Any] = {
        "cached_tokens": usage.cached_input_tokens,
        "audio_tokens": usage.audio_input_tokens,
    }
    if usage.cache_write_tokens:
        given["cache_write_tokens"] = usage.cache_write_tokens
    if hour := usage.cache_write_1h_tokens:
        given["cache_creation_token_details"] = {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - hour,
            "ephemeral_1h_input_tokens": hour,
        }
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": given,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.audio_output_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
