"""Looks at a stream in OpenAI's Responses format as it passes."""

from __future__ import annotations

import re

import orjson

from gateway import sse
from gateway.dialects.base import Json, StreamWatch, mapping
from gateway.dialects.openai_responses.events import (
    Events,
    ending,
    failure_in,
    how_it_ended,
    parsed,
    read_usage,
    usage_told,
    words_of,
)
from gateway.dialects.openai_responses.underway import Underway
from gateway.dialects.seen_words import SeenWords, fields
from lib.errors import CourierError
from lib.tokens import TokenUsage

_WORDS = fields(b"delta")
#: Events that say more than a few words: only these are parsed.
_TURN = re.compile(
    rb'"type":\s*"(?:response\.(?:[a-z_.]+\.(?:added|done)|created|completed|incomplete|failed)'
    rb'|error)"|"error":\s*[{"]'
)
_DELTA = re.compile(rb'"type":\s*"response\.[a-z_.]+\.delta"')
_NUMBER = re.compile(rb'"sequence_number":\s*(\d+)')


class ResponsesWatch(StreamWatch):
    """Looks at one stream of response events."""

    __slots__ = ("_last", "_output", "_response", "_underway", "_words")

    def __init__(self) -> None:
        super().__init__()
        #: As it began.
        self._response: Json = {}
        #: The items that are done, and the one that is not.
        self._output: list[Json] = []
        self._underway: Underway | None = None
        #: The frames seen last: the number of the last event is read when it is asked for.
        self._last = b""
        self._words = SeenWords()

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
        if not self.has_output:
            self.has_output = bool(_DELTA.search(frames))
        self._words.keep(b"".join(_WORDS.findall(frames)))

    def _turn(self, event: Json) -> None:
        self.failure = self.failure or failure_in(event)
        match event.get("type"):
            case "response.created":
                self._response = dict(mapping(event.get("response")))
            case "response.completed" | "response.incomplete":
                self.usage = read_usage(mapping(event.get("response"))) or self.usage
                self.is_complete = True
            case "response.output_item.added":
                self._underway = Underway(event, self._words.kept)
                # A message says nothing yet; anything else shows that the model is at work.
                self.has_output = self.has_output or not self._underway.is_message
            case "response.output_item.done":
                self._close_item(dict(mapping(event.get("item"))))
            case _ if self._underway is not None:
                self._underway.see(event, self._words.kept)

    def _close_item(self, item: Json) -> None:
        if self._underway is not None and self._words.kept == self._underway.began:
            # Some servers send no pieces: the words come all at once.
            whole = "".join(words_of([item]))
            self._words.keep(orjson.dumps(whole)[1:-1])
        self._output.append(item)
        self._underway = None

    def ending(self, reason: str, used: TokenUsage) -> bytes:
        events = Events(self._next_number())
        frames = b""
        if self._underway is not None:
            item = self._underway.taken_over(events, self._words)
            frames = item.closed("incomplete")
            self._output.append(item.told("incomplete"))
        response = {
            **self._response,
            **how_it_ended(reason),
            "output": self._output,
            "usage": usage_told(used),
        }
        return frames + ending(events, response)

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        response = {**self._response, "output": self._output}
        return Events(self._next_number()).failed(response, error, request_id)

    def _next_number(self) -> int:
        numbers = _NUMBER.findall(self._last)
        return int(numbers[-1]) + 1 if numbers else 0

    def seen_text(self) -> str:
        return self._words.text()

    def output_estimate(self) -> int:
        return self._words.token_estimate()
