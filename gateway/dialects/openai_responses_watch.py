"""Looks at a stream in OpenAI's Responses format as it passes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway import sse
from gateway.dialects.base import Json, StreamWatch, integer, mapping
from gateway.dialects.openai import CHARACTERS_PER_TOKEN, unescaped
from gateway.dialects.openai_responses_events import (
    Events,
    ending,
    failure_in,
    how_it_ended,
    parsed,
    read_usage,
    usage_told,
)
from gateway.dialects.openai_responses_items import CallItem, Item, MessageItem, ReasoningItem
from lib.errors import CourierError
from lib.tokens import TokenUsage

#: Words of the model. Quotes inside JSON strings are escaped, so a match is a real field.
_WORDS = re.compile(rb'"delta":\s*"([^"\\]*(?:\\.[^"\\]*)*)"')
#: Events that say more than a few words: only these are parsed.
_TURN = re.compile(
    rb'"type":\s*"(?:response\.(?:created|completed|incomplete|failed|output_item\.(?:added|done)'
    rb'|content_part\.(?:added|done)|reasoning_summary_part\.added)|error)"|"error":\s*[{"]'
)
_DELTA = re.compile(rb'"type":\s*"response\.[a-z_.]+\.delta"')
_NUMBER = re.compile(rb'"sequence_number":\s*(\d+)')
_ENDS = frozenset({"response.completed", "response.incomplete"})
#: Words kept for counting, per stream, in bytes. What lies beyond is counted by its length.
MOST_WORDS = 512 * 1024
MOST_BEYOND = 16 * 1024 * 1024


class ResponsesWatch(StreamWatch):
    """Looks at one stream of response events."""

    __slots__ = (
        "_beyond",
        "_from",
        "_last",
        "_open",
        "_output",
        "_output_index",
        "_part",
        "_parts",
        "_response",
        "_words",
    )

    def __init__(self) -> None:
        super().__init__()
        #: As it began.
        self._response: Json = {}
        #: The items that are done, and the one that is not.
        self._output: list[Json] = []
        self._open: Mapping[str, Any] = {}
        self._output_index = 0
        #: Of the open item: its parts that are done, the kind of the one that is not, and
        #: where that one's words begin.
        self._parts: list[Json] = []
        self._part = ""
        self._from = 0
        #: The frames seen last: the number of the last event is read when it is asked for.
        self._last = b""
        self._words = bytearray()
        self._beyond = 0

    def see(self, frames: bytes) -> bytes:
        if b'"sequence_number"' in frames:
            self._last = frames
        if _TURN.search(frames):
            for frame in sse.split(frames):
                self._see_one(frame)
        else:
            self._keep(frames)
        return frames

    def _see_one(self, frame: bytes) -> None:
        if _TURN.search(frame):
            self._turn(parsed(frame))
        else:
            self._keep(frame)

    def _keep(self, frames: bytes) -> None:
        words = b"".join(_WORDS.findall(frames))
        if not self.has_output:
            self.has_output = bool(_DELTA.search(frames))
        if len(self._words) + len(words) <= MOST_WORDS:
            self._words += words
        else:
            self._beyond += len(words)

    def _turn(self, event: Json) -> None:
        self.failure = self.failure or failure_in(event)
        kind = str(event.get("type") or "")
        turn = _TURNS.get(kind)
        if turn is not None:
            turn(self, event)
        elif kind in _ENDS:
            self.usage = read_usage(mapping(event.get("response"))) or self.usage
            self.is_complete = True

    def _begin(self, event: Json) -> None:
        self._response = dict(mapping(event.get("response")))

    def _open_item(self, event: Json) -> None:
        self._open = mapping(event.get("item"))
        self._output_index = integer(event.get("output_index"))
        self._parts, self._part, self._from = [], "", len(self._words)
        # A message says nothing yet; anything else shows that the model is at work.
        self.has_output = self.has_output or self._open.get("type") != "message"

    def _close_item(self, event: Json) -> None:
        self._output.append(dict(mapping(event.get("item"))))
        self._open = {}

    def _open_part(self, event: Json) -> None:
        self._part = str(mapping(event.get("part")).get("type") or "")
        self._from = len(self._words)

    def _close_part(self, event: Json) -> None:
        self._parts.append(dict(mapping(event.get("part"))))
        self._part = ""

    def ending(self, reason: str, used: TokenUsage) -> bytes:
        events = Events(self._next_number())
        item = self._taken_over(events)
        frames = b""
        if item is not None:
            frames = item.closed("incomplete")
            self._output.append(item.told("incomplete"))
        response = {
            **self._response,
            **how_it_ended(reason),
            "output": self._output,
            "usage": usage_told(used),
        }
        return frames + ending(events, response)

    def _taken_over(self, events: Events) -> Item | None:
        """The item that is still open, to be closed by us."""
        place = (events, str(self._open.get("id") or ""), self._output_index)
        words = unescaped(bytes(self._words[self._from :]))
        match self._open.get("type"):
            case "message":
                message = MessageItem(*place)
                message.resume(self._parts, self._part, words)
                return message
            case "reasoning":
                reasoning = ReasoningItem(*place)
                if self._part:
                    reasoning.resume(words)
                return reasoning
            case "function_call":
                call = CallItem(*place)
                name, call_id = (str(self._open.get(field)) for field in ("name", "call_id"))
                call.resume(call_id, name, words)
                return call
        return None

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        response = {**self._response, "output": self._output}
        return Events(self._next_number()).failed(response, error, request_id)

    def _next_number(self) -> int:
        numbers = _NUMBER.findall(self._last)
        return int(numbers[-1]) + 1 if numbers else 0

    def seen_text(self) -> str:
        return unescaped(bytes(self._words)) + " " * min(self._beyond, MOST_BEYOND)

    def output_estimate(self) -> int:
        return (len(self._words) + self._beyond) // CHARACTERS_PER_TOKEN


_TURNS = {
    "response.created": ResponsesWatch._begin,
    "response.output_item.added": ResponsesWatch._open_item,
    "response.output_item.done": ResponsesWatch._close_item,
    "response.content_part.added": ResponsesWatch._open_part,
    "response.content_part.done": ResponsesWatch._close_part,
    "response.reasoning_summary_part.added": ResponsesWatch._open_part,
}
