"""A format that an administrator has described: paths say where the parts of an answer are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import Any

import orjson

from gateway import sse
from gateway.canonical import (
    ChatRequest,
    Ended,
    Event,
    Failed,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.dialects.base import (
    Destination,
    Drops,
    Framing,
    Json,
    StreamReader,
    UpstreamHalf,
    integer,
)
from gateway.dialects.framings import BodyFramer, LineFramer
from gateway.dialects.generic.upstream_request import written
from gateway.sse import Framer
from lib.json_path import JsonPath
from lib.json_reading import loads
from lib.tokens import TokenUsage
from registry.generic import GenericOptions, Response, Stream, ToolCalls, Usage

_FRAMERS: dict[str, Callable[[], Framing]] = {
    "sse": Framer,
    "ndjson": LineFramer,
    "none": BodyFramer,
}
#: What a vendor may call its reasons without anybody having said so.
_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})


class GenericChat(UpstreamHalf[ChatRequest]):
    """Conversations, as one provider's options describe them."""

    name = "generic-chat"
    task = "chat"

    def __init__(self, options: GenericOptions) -> None:
        self.options = options
        # Servers name lines of JSON, and JSON, in many ways.
        self.stream_type = "text/event-stream" if options.stream.format == "sse" else ""

    def framing(self) -> Framing:
        return _FRAMERS[self.options.stream.format]()

    def write_request(self, request: ChatRequest, to: Destination, drops: Drops) -> Json:
        return written(request, to, drops, self.options)

    def is_answer(self, body: Any) -> bool:
        response = self.options.response
        paths = [response.text, response.thinking, response.finish]
        if response.tool_calls:
            paths.append(response.tool_calls.items)
        return any(path is not None and path.first(body) is not None for path in paths)

    def failure_in(self, body: Any) -> Json | None:
        return None if self.is_answer(body) else _failure(self.options.response.error, body)

    def read_response(self, body: Any) -> list[Event]:
        reading = Reading(self.options.response, self.options.response)
        events = [Started(f"generic-{token_hex(12)}", ""), *reading.events(body)]
        return [*events, *reading.finished()]

    def stream_reader(self) -> StreamReader:
        if self.options.stream.format == "none":
            return WholeReader(self)
        return EventReader(self.options)


class Reading:
    """What has been read of one answer, in one piece or in many."""

    def __init__(self, places: Response | Stream, response: Response) -> None:
        self._places = places
        self._meanings = response.finish_map
        self._text, self._thinking = places.text, places.thinking
        #: The calls' numbers by the vendor's own; and how many there are.
        self._calls: dict[Any, int] = {}
        self._count = 0
        self.has_finished = False

    def events(self, body: Any) -> Iterator[Event]:
        """The events in a whole answer, or in one piece of it."""
        if self._thinking is not None and (thought := _texts(self._thinking, body)):
            yield ThinkingDelta(thought)
        if self._text is not None and (text := _texts(self._text, body)):
            yield TextDelta(text)
        if self._places.tool_calls is not None:
            yield from self._called(self._places.tool_calls, body)
        reason = self._places.finish.first(body) if self._places.finish is not None else None
        if isinstance(reason, str) and reason:
            yield from self.finished(self._meaning(reason))
        if self._places.usage is not None and (usage := _usage(self._places.usage, body)):
            yield UsageReported(usage)

    def finished(self, reason: str = "stop") -> Iterator[Event]:
        """The reason to stop, if it has not been told."""
        if not self.has_finished:
            self.has_finished = True
            yield Finished("tool_calls" if self._count and reason == "stop" else reason)

    def _meaning(self, reason: str) -> str:
        return self._meanings.get(reason, reason if reason in _REASONS else "stop")

    def _called(self, places: ToolCalls, body: Any) -> Iterator[Event]:
        calls = places.items.first(body)
        for call in calls if isinstance(calls, list) else [calls]:
            if isinstance(call, dict):
                yield from self._call(places, call)

    def _call(self, places: ToolCalls, call: Json) -> Iterator[Event]:
        name, told = places.name.first(call), _told_index(places, call)
        if isinstance(name, str) and name and (told is None or told not in self._calls):
            index = self._calls[told] = self._count
            self._count += 1
            call_id = places.id.first(call) if places.id is not None else None
            yield ToolCallStarted(index, _id(call_id), name)
        arguments = places.arguments.first(call)
        if told in self._calls and arguments not in (None, ""):
            yield ToolCallDelta(self._calls[told], _json_text(arguments))


class EventReader(StreamReader):
    """Reads one stream of events."""

    def __init__(self, options: GenericOptions) -> None:
        self._stream = options.stream
        self._reading = Reading(options.stream, options.response)
        done = options.stream.done
        self._mark = done.data.encode() if done and done.data else None
        self._has_begun = self._has_ended = False

    def read(self, frames: bytes) -> Iterator[Event]:
        for frame in sse.split(frames):
            for event in self._events(sse.data_of(frame)):
                yield event
                if isinstance(event, Ended | Failed):
                    self._has_ended = True
                    return

    def close(self) -> Iterator[Event]:
        # Without a mark of its own, a stream is whole when it has told why it stopped.
        if self._stream.done is None and self._reading.has_finished and not self._has_ended:
            yield Ended()

    def _events(self, data: bytes) -> Iterator[Event]:
        if self._mark is not None and data.strip() == self._mark:
            yield from self._ended()
            return
        if not data or data == b"[DONE]":
            return
        body = loads(data)
        if failure := _failure(self._stream.error, body):
            yield Failed(failure)
            return
        if not self._has_begun:
            self._has_begun = True
            yield Started(f"generic-{token_hex(12)}", "")
        yield from self._reading.events(body)
        if self._is_done(body):
            yield from self._ended()

    def _ended(self) -> Iterator[Event]:
        yield from self._reading.finished()
        yield Ended()

    def _is_done(self, body: Any) -> bool:
        done = self._stream.done
        if done is None or done.path is None:
            return False
        value = done.path.first(body)
        if done.equals is None:
            return value is not None and value is not False
        return type(value) is type(done.equals) and value == done.equals


class WholeReader(StreamReader):
    """Reads an answer in one piece as a stream of one event."""

    def __init__(self, dialect: GenericChat) -> None:
        self._dialect = dialect

    def read(self, frames: bytes) -> Iterator[Event]:
        body = loads(sse.data_of(frames))
        if failure := self._dialect.failure_in(body):
            yield Failed(failure)
            return
        if not self._dialect.is_answer(body):
            raise ValueError("This is no answer.")
        yield from self._dialect.read_response(body)
        yield Ended()


def _texts(path: JsonPath, body: Any) -> str:
    return "".join(text for text in path.all(body) if isinstance(text, str))


def _told_index(places: ToolCalls, call: Json) -> int | None:
    index = places.index.first(call) if places.index is not None else None
    return index if isinstance(index, int) else None


def _id(told: Any) -> str:
    return told if isinstance(told, str) and told else f"call_{token_hex(12)}"


def _json_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()


def _failure(path: JsonPath | None, body: Any) -> Json | None:
    told = path.first(body) if path is not None else None
    if told is None or told is False or told == "":
        return None
    return {"message": told if isinstance(told, str) else orjson.dumps(told).decode()}


def _usage(places: Usage, body: Any) -> TokenUsage | None:
    """The usage, if both its sides are told: half of it would make the other half free."""
    given, output = _count(places.input, body), _count(places.output, body)
    # No model answers without reading anything: two zeros only fill a form.
    if given is None or output is None or not given + output:
        return None
    cached, written = _count(places.cached, body) or 0, _count(places.cache_write, body) or 0
    reasoning = _count(places.reasoning, body) or 0
    if not places.input_includes_cached:
        given += cached + written
    if not places.output_includes_reasoning:
        output += reasoning
    cached = min(cached, given)
    return TokenUsage(
        input_tokens=given,
        cached_input_tokens=cached,
        cache_write_tokens=min(written, given - cached),
        output_tokens=output,
        reasoning_tokens=min(reasoning, output),
    )


def _count(path: JsonPath | None, body: Any) -> int | None:
    told = path.first(body) if path is not None else None
    return integer(told) if isinstance(told, int | float) and not isinstance(told, bool) else None
