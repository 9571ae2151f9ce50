"""Answers in OpenAI's Responses format, read into the canonical events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson

from gateway import sse
from gateway.canonical import (
    Annotated,
    Ended,
    Event,
    Failed,
    Finished,
    LogProbs,
    Media,
    MediaMade,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.dialects.base import Json, StreamReader, integer, items, mapping
from gateway.dialects.json_values import objects
from gateway.dialects.openai_responses.client_items import FREE_INPUT
from gateway.dialects.openai_responses.events import failure_in, parsed, read_usage
from gateway.dialects.signatures import OPENAI, marked

_CALLS = ("function_call", "custom_tool_call")


def read_response(body: Json) -> list[Event]:
    """The events in a whole answer."""
    read: list[Event] = [Started(str(body.get("id") or ""), str(body.get("model") or ""))]
    calls = 0
    for item in map(mapping, items(body.get("output"))):
        read += _whole_item(item, calls)
        calls += item.get("type") in _CALLS
    return [*read, *_finish(body, calls)]


def _whole_item(item: Mapping[str, Any], index: int) -> Iterator[Event]:
    match item.get("type"):
        case "message":
            for part in map(mapping, items(item.get("content"))):
                yield from _whole_part(part)
        case "reasoning":
            words = _thoughts(item)
            if words:
                yield ThinkingDelta(words)
            yield from _signature(item, has_words=bool(words))
        case "function_call" | "custom_tool_call":
            yield _call_started(item, index)
            yield ToolCallDelta(index, _arguments(item))
        case "image_generation_call":
            yield from _image(item)


def _whole_part(part: Mapping[str, Any]) -> Iterator[Event]:
    if part.get("refusal"):
        yield RefusalDelta(str(part["refusal"]))
        return
    yield TextDelta(str(part.get("text") or ""))
    if tokens := objects(part.get("logprobs")):
        yield LogProbs(tokens)
    for annotation in items(part.get("annotations")):
        yield _annotated(annotation)


def _thoughts(item: Mapping[str, Any]) -> str:
    """The summary of what was thought, or else the thoughts themselves."""
    parts = items(item.get("summary")) or items(item.get("content"))
    return "\n\n".join(str(mapping(part).get("text") or "") for part in parts)


def _signature(item: Mapping[str, Any], *, has_words: bool) -> Iterator[Event]:
    if encrypted := str(item.get("encrypted_content") or ""):
        signature = marked(OPENAI, encrypted)
        yield ThinkingSigned(signature) if has_words else ThinkingRedacted(signature)


def _call_started(item: Mapping[str, Any], index: int) -> ToolCallStarted:
    call_id = item.get("call_id") or item.get("id")
    return ToolCallStarted(index, str(call_id or ""), str(item.get("name") or ""))


def _arguments(item: Mapping[str, Any]) -> str:
    if item.get("type") == "custom_tool_call":
        return orjson.dumps({FREE_INPUT: str(item.get("input") or "")}).decode()
    return str(item.get("arguments") or "")


def _image(item: Mapping[str, Any]) -> Iterator[Event]:
    data = item.get("result")
    if isinstance(data, str) and data:
        media_type = f"image/{item.get('output_format') or 'png'}"
        yield MediaMade(Media("image", media_type=media_type, data=data))


def _annotated(given: Any) -> Annotated:
    """A source, with its fields one level deeper, as chat completions have them."""
    annotation = dict(mapping(given))
    kind = str(annotation.pop("type", ""))
    return Annotated({"type": kind, kind: annotation})


def _finish(response: Mapping[str, Any], calls: int) -> Iterator[Event]:
    yield Finished(_reason(response, calls))
    usage = read_usage(response)
    if usage is not None:
        yield UsageReported(usage)


def _reason(response: Mapping[str, Any], calls: int) -> str:
    if response.get("status") == "incomplete":
        why = mapping(response.get("incomplete_details")).get("reason")
        return "content_filter" if why == "content_filter" else "length"
    return "tool_calls" if calls else "stop"


class ResponseReader(StreamReader):
    """Reads one stream. Words come from its deltas, and where there are none from what is done."""

    def __init__(self) -> None:
        #: Numbers of calls, by their item's place.
        self._calls: dict[int, int] = {}
        #: Places of items, and of their parts, of which deltas have been seen.
        self._told: set[tuple[int, int]] = set()

    def read(self, frames: bytes) -> Iterable[Event]:
        for frame in sse.split(frames):
            event = parsed(frame)
            if event:
                yield from self._read_one(event)

    def _read_one(self, event: Json) -> Iterator[Event]:
        failure = failure_in(event)
        if failure is not None:
            yield Failed(failure)
            return
        reading = _READINGS.get(str(event.get("type")))
        if reading is not None:
            yield from reading(self, event)

    def _start(self, event: Json) -> Iterator[Event]:
        response = mapping(event.get("response"))
        yield Started(str(response.get("id") or ""), str(response.get("model") or ""))

    def _text(self, event: Json) -> Iterator[Event]:
        self._told.add(_place(event))
        yield TextDelta(str(event.get("delta") or ""))
        if tokens := objects(event.get("logprobs")):
            yield LogProbs(tokens)

    def _whole_text(self, event: Json) -> Iterator[Event]:
        if _place(event) not in self._told:
            yield TextDelta(str(event.get("text") or ""))

    def _refusal(self, event: Json) -> Iterator[Event]:
        self._told.add(_place(event))
        yield RefusalDelta(str(event.get("delta") or ""))

    def _whole_refusal(self, event: Json) -> Iterator[Event]:
        if _place(event) not in self._told:
            yield RefusalDelta(str(event.get("refusal") or ""))

    def _thought(self, event: Json) -> Iterator[Event]:
        place = integer(event.get("output_index")), 0
        part = integer(event.get("summary_index"))
        if part and (place[0], part) not in self._told:
            yield ThinkingDelta("\n\n")
        self._told |= {place, (place[0], part)}
        yield ThinkingDelta(str(event.get("delta") or ""))

    def _open_item(self, event: Json) -> Iterator[Event]:
        item = mapping(event.get("item"))
        if item.get("type") in _CALLS:
            place = integer(event.get("output_index"))
            yield _call_started(item, self._calls.setdefault(place, len(self._calls)))

    def _argue(self, event: Json) -> Iterator[Event]:
        index = self._calls.get(integer(event.get("output_index")))
        if index is not None:
            self._told.add(_place(event))
            yield ToolCallDelta(index, str(event.get("delta") or ""))

    def _close_item(self, event: Json) -> Iterator[Event]:
        item, place = mapping(event.get("item")), integer(event.get("output_index"))
        kind = item.get("type")
        if kind == "reasoning":
            yield from self._close_thought(item, place)
        elif kind in _CALLS:
            yield from self._close_call(item, place)
        elif kind == "image_generation_call":
            yield from _image(item)

    def _close_thought(self, item: Mapping[str, Any], place: int) -> Iterator[Event]:
        words = "" if (place, 0) in self._told else _thoughts(item)
        if words:
            yield ThinkingDelta(words)
        yield from _signature(item, has_words=bool(words) or (place, 0) in self._told)

    def _close_call(self, item: Mapping[str, Any], place: int) -> Iterator[Event]:
        if place not in self._calls:
            self._calls[place] = len(self._calls)
            yield _call_started(item, self._calls[place])
        if (place, 0) not in self._told:
            yield ToolCallDelta(self._calls[place], _arguments(item))

    def _annotate(self, event: Json) -> Iterator[Event]:
        yield _annotated(event.get("annotation"))

    def _end(self, event: Json) -> Iterator[Event]:
        yield from _finish(mapping(event.get("response")), len(self._calls))
        yield Ended()


def _place(event: Json) -> tuple[int, int]:
    return integer(event.get("output_index")), integer(event.get("content_index"))


_READINGS: Mapping[str, Callable[[ResponseReader, Json], Iterator[Event]]] = {
    "response.created": ResponseReader._start,
    "response.output_text.delta": ResponseReader._text,
    "response.output_text.done": ResponseReader._whole_text,
    "response.refusal.delta": ResponseReader._refusal,
    "response.refusal.done": ResponseReader._whole_refusal,
    "response.reasoning_summary_text.delta": ResponseReader._thought,
    "response.reasoning_text.delta": ResponseReader._thought,
    "response.output_item.added": ResponseReader._open_item,
    "response.function_call_arguments.delta": ResponseReader._argue,
    "response.output_item.done": ResponseReader._close_item,
    "response.output_text.annotation.added": ResponseReader._annotate,
    "response.completed": ResponseReader._end,
    "response.incomplete": ResponseReader._end,
}
