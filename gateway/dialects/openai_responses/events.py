"""The events of a stream in OpenAI's Responses format, and how they tell of failure and use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from gateway import sse
from gateway.dialects import openai_usage
from gateway.dialects.base import Json, integer, items, mapping
from lib.errors import CourierError
from lib.json_reading import loads
from lib.tokens import TokenUsage

#: What OpenAI's codes of failure would be as a status. All others are the provider's fault.
_STATUS = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "bio_policy": 400,
    "cyber_policy_violation": 400,
    "misalignment_policy_violation": 400,
    "invalid_image": 400,
    "invalid_image_format": 400,
    "invalid_base64_image": 400,
    "invalid_image_url": 400,
    "image_too_large": 400,
    "image_too_small": 400,
    "image_parse_error": 400,
    "image_content_policy_violation": 400,
    "image_file_too_large": 400,
    "unsupported_image_media_type": 400,
    "empty_image_file": 400,
    "failed_to_download_image": 400,
    "image_file_not_found": 400,
}

#: Fields of an item that are the model's own words, or were.
_WORDS = ("name", "arguments", "input")


class Events:
    """Writes the events of one stream, and numbers them."""

    __slots__ = ("_number",)

    def __init__(self, number: int = 0) -> None:
        self._number = number

    def event(self, kind: str, **fields: Any) -> bytes:
        """The frame of an event of this kind."""
        told = orjson.dumps({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + told + b"\n\n"

    def failed(self, response: Json, error: CourierError, request_id: str) -> bytes:
        """The frames that end a stream, and `response` with it, in failure.

        OpenAI's SDKs raise at the first, for its `error`; agents that wait for a response to
        end look at the second, whose code must be one of OpenAI's own.
        """
        named = f" (request id: {request_id})" if error.tells_request_id else ""
        told = {"code": error.code, "message": error.message + named, "param": error.param}
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        failure = {"code": code, "message": told["message"]}
        return self.event("error", **told, error={"type": error.type, **told}) + self.event(
            "response.failed", response={**response, "status": "failed", "error": failure}
        )


def parsed(frame: bytes) -> Json:
    """The event in a frame; empty for comments and for an end marker. Raises ValueError."""
    data = sse.data_of(frame)
    if not data or data.startswith(b"[DONE]"):
        return {}
    event = loads(data)
    if not isinstance(event, dict):
        raise ValueError("An event must be an object.")  # noqa: TRY004  # malformed, like bad JSON
    return event


def failure_in(event: Json) -> Json | None:
    """The error that an event reports, if it does, with the status that it would have had."""
    match event.get("type"):
        case "response.failed":
            return failure_of(event.get("response")) or failure_of({"error": {"message": ""}})
        case "error":
            flat = {name: event.get(name) for name in ("message", "code", "param")}
            return failure_of({"error": event.get("error") or flat})
        case None:
            return failure_of(event)
    return None


def failure_of(body: Any) -> Json | None:
    """The error of a whole response, if it has one, with the status that it would have had."""
    error = mapping(body).get("error")
    if not error:
        return None
    told = dict(error) if isinstance(error, dict) else {"message": str(error)}
    code = told.get("code")
    if isinstance(code, str) and code in _STATUS:
        told["status"] = _STATUS[code]
    return told


def read_usage(response: Mapping[str, Any]) -> TokenUsage | None:
    """The usage that a response reports, with the searches that its provider charges."""
    told = mapping(response.get("usage"))
    usage = openai_usage.read_usage(
        {
            "prompt_tokens": told.get("input_tokens"),
            "completion_tokens": told.get("output_tokens"),
            "total_tokens": told.get("total_tokens"),
            "prompt_tokens_details": told.get("input_tokens_details"),
            "completion_tokens_details": told.get("output_tokens_details"),
        }
    )
    return usage and replace(usage, search_units=_searches(response))


def _searches(response: Mapping[str, Any]) -> int:
    counted = mapping(mapping(response.get("tool_usage")).get("web_search")).get("num_requests")
    if counted is not None:
        return integer(counted)
    return sum(map(_is_search, map(mapping, items(response.get("output")))))


def _is_search(item: Mapping[str, Any]) -> bool:
    """Whether an item is a search of the web, and not the opening of a page it found."""
    if item.get("type") != "web_search_call" or item.get("status") != "completed":
        return False
    return bool(mapping(item.get("action")).get("type", "search") == "search")


def usage_told(usage: TokenUsage) -> Json:
    """Usage as a response reports it."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def how_it_ended(reason: str) -> Json:
    """The fields of a response that has stopped for `reason`, one of the hub's."""
    if reason in {"", "stop", "tool_calls"}:
        return {"status": "completed", "incomplete_details": None}
    known = "content_filter" if reason == "content_filter" else "max_output_tokens"
    details = {"reason": known}
    if reason not in {"length", "content_filter"}:
        # OpenAI's reasons are a closed list, which typed clients insist on.
        details["cause"] = reason
    return {"status": "incomplete", "incomplete_details": details}


def ending(events: Events, response: Json) -> bytes:
    """The last event of a response that has ended."""
    return events.event(f"response.{response['status']}", response=response)


def texts(content: Any) -> Iterator[str]:
    """The words in a message's content, a tool's result or a summary."""
    if isinstance(content, str):
        yield content
    for part in map(mapping, items(content)):
        words = part.get("text") or part.get("refusal")
        if isinstance(words, str):
            yield words


def words_of(output: Any) -> Iterator[str]:
    """The words of items: said, thought, called for, or come back from a call."""
    for item in map(mapping, items(output)):
        for content in ("content", "summary", "output"):
            yield from texts(item.get(content))
        yield from (item[name] for name in _WORDS if isinstance(item.get(name), str))
