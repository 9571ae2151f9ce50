"""Looks at one stream of Anthropic's events as it passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway import sse
from gateway.dialects.anthropic_messages.usage import merged, read_usage, written_usage
from gateway.dialects.anthropic_messages.vocabulary import (
    STOPPED_EARLY,
    error_frame,
    event_frame,
    failure_of,
    is_error,
)
from gateway.dialects.base import Json, StreamWatch, mapping
from gateway.dialects.seen_words import SeenWords, fields
from lib.errors import CourierError
from lib.json_reading import loads
from lib.tokens import TokenUsage

_WORDS = fields(b"text", b"thinking", b"partial_json", b"name")
#: Only frames that may hold one of these are parsed, once there was output.
_TELLING = (b'"usage"', b"content_block_st", b"message_stop", b'"error"')
#: Blocks that say nothing until their first delta comes.
_OPEN_EMPTY = ("text", "thinking")


class MessagesWatch(StreamWatch):
    """Passes every byte on."""

    __slots__ = ("_open", "_used", "_words")

    def __init__(self) -> None:
        super().__init__()
        #: The usage object as the reports so far make it.
        self._used: Json = {}
        #: The index of the block that is open; None between blocks.
        self._open: int | None = None
        self._words = SeenWords()

    def see(self, frames: bytes) -> bytes:
        self._words.keep(b"".join(_WORDS.findall(frames)))
        if not self.has_output or any(mark in frames for mark in _TELLING):
            for frame in sse.split(frames):
                if not self.has_output or any(mark in frame for mark in _TELLING):
                    self._look_at(parsed(frame))
        return frames

    def _look_at(self, event: Json) -> None:
        kind = event.get("type")
        self.has_output = self.has_output or _is_output(event)
        if kind == "content_block_start":
            self._open = event.get("index")
        elif kind == "content_block_stop":
            self._open = None
        elif kind == "message_start":
            self._note_usage(mapping(event.get("message")).get("usage"))
            self.knows_output = False
        elif kind == "message_delta":
            self._note_usage(event.get("usage"))
            self.knows_output = True
        elif kind == "message_stop":
            self.is_complete = True
        elif is_error(event):
            self.failure = failure_of(event)

    def _note_usage(self, told: Any) -> None:
        self._used = merged(self._used, told)
        self.usage = read_usage(self._used)

    def ending(self, reason: str, used: TokenUsage) -> bytes:
        closing = b"" if self._open is None else block_stop(self._open)
        return closing + message_end(STOPPED_EARLY, None, written_usage(used))

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return error_frame(error, request_id)

    def seen_text(self) -> str:
        return self._words.text()

    def output_estimate(self) -> int:
        return self._words.token_estimate()


def parsed(frame: bytes) -> Json:
    """The event in a frame; empty for comments. Raises ValueError."""
    data = sse.data_of(frame)
    if not data or data.startswith(b"[DONE]"):
        return {}
    event = loads(data)
    if not isinstance(event, dict):
        raise ValueError("An event must be an object.")  # noqa: TRY004  # malformed, like bad JSON
    return event


def _is_output(event: Mapping[str, Any]) -> bool:
    """Whether the client sees something of the model's own in it."""
    kind = event.get("type")
    if kind == "content_block_delta":
        return True
    if kind == "message_delta":
        return bool(mapping(event.get("delta")).get("stop_reason"))
    if kind != "content_block_start":
        return False
    block = mapping(event.get("content_block"))
    return block.get("type") not in _OPEN_EMPTY or bool(block.get("text") or block.get("thinking"))


def block_stop(index: int) -> bytes:
    """The end of a block."""
    return event_frame("content_block_stop", {"type": "content_block_stop", "index": index})


def message_end(stop_reason: str, stop_sequence: str | None, usage: Json) -> bytes:
    """The two events that end a stream."""
    delta = {"stop_reason": stop_reason, "stop_sequence": stop_sequence}
    last = {"type": "message_delta", "delta": delta, "usage": usage}
    return event_frame("message_delta", last) + event_frame(
        "message_stop", {"type": "message_stop"}
    )
