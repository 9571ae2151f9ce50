"""Answers in OpenAI's Responses format, written from the canonical events.

A whole answer is what the stream would have come to: both are written here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from gateway import canonical
from gateway.canonical import Event
from gateway.dialects.base import Json, StreamWriter, items, mapping
from gateway.dialects.openai_responses.client_items import (
    REDACTED,
    CallItem,
    ImageItem,
    Item,
    MessageItem,
    ReasoningItem,
    WrappedCallItem,
)
from gateway.dialects.openai_responses.events import (
    Events,
    ending,
    how_it_ended,
    usage_told,
)
from gateway.dialects.signatures import OPENAI, UNSIGNED, named, unmarked
from lib.errors import CourierError
from lib.ids import uuid7
from lib.tokens import TokenUsage

#: What a response repeats of its request, and says where the request does not.
_ECHOED: Json = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}

Opened = TypeVar("Opened", bound=Item)


class ResponseWriter(StreamWriter):
    """Writes one answer: item after item, as OpenAI does."""

    def __init__(self, request: Json) -> None:
        self._events = Events()
        self._frames: list[bytes] = []
        self._name = uuid7().hex
        self._has_begun = False
        self._response = _opening(request, self._name)
        self._custom = custom_tools(request)
        self._items: list[Item] = []
        #: What has become of the items that are closed, by their place.
        self._output: dict[int, Json] = {}
        #: The item that is being added to, unless it is a call.
        self._current: Item | None = None
        #: Calls that may still be added to, by their number.
        self._calls: dict[int, CallItem] = {}
        self._reason = ""
        self._usage: TokenUsage | None = None

    def write(self, event: Event) -> bytes:
        handle = _HANDLERS.get(type(event))
        # A response is one answer.
        if handle is None or getattr(event, "choice", 0) > 0:
            return b""
        handle(self, event)
        return self._written()

    def close(self) -> bytes:
        self._begin()
        response = self.finished()
        self._frames.append(ending(self._events, response))
        return self._written()

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        response = {**self._response, "output": self._told()}
        return self._events.failed(response, error, request_id)

    def finished(self) -> Json:
        """The whole response, its items closed."""
        ended = how_it_ended(self._reason)
        self._close_all(ended["status"])
        if ended["status"] == "completed":
            ended["completed_at"] = int(time.time())
        usage = usage_told(self._usage) if self._usage else None
        self._response |= {**ended, "output": self._told(), "usage": usage}
        return self._response

    # What each event does

    def _start(self, event: canonical.Started) -> None:
        self._response["model"] = event.model or self._response["model"]
        self._begin()

    def _say(self, event: canonical.TextDelta) -> None:
        message = self._turn_to(MessageItem)
        self._frames.append(message.say(event.text))

    def _refuse(self, event: canonical.RefusalDelta) -> None:
        message = self._turn_to(MessageItem)
        self._frames.append(message.refuse(event.text))

    def _annotate(self, event: canonical.Annotated) -> None:
        message = self._turn_to(MessageItem)
        self._frames.append(message.annotate(_flat(event.annotation)))

    def _note_logprobs(self, event: canonical.LogProbs) -> None:
        if isinstance(self._current, MessageItem):
            self._current.note_logprobs(event.tokens)

    def _think(self, event: canonical.ThinkingDelta) -> None:
        reasoning = self._turn_to(ReasoningItem)
        # Until a signature comes: without one OpenAI would look for an item that it has kept.
        reasoning.sign(UNSIGNED)
        self._frames.append(reasoning.think(event.text))

    def _sign(self, event: canonical.ThinkingSigned) -> None:
        self._turn_to(ReasoningItem).sign(_signature_told(event.signature))
        self._close_current("completed")

    def _redact(self, event: canonical.ThinkingRedacted) -> None:
        self._close_current("completed")
        self._turn_to(ReasoningItem).sign(unmarked(OPENAI, event.data) or REDACTED + event.data)
        self._close_current("completed")

    def _call(self, event: canonical.ToolCallStarted) -> None:
        self._close_current("completed")
        self._close_whole_calls()
        call = self._new(WrappedCallItem if event.name in self._custom else CallItem)
        self._calls[event.index] = call
        call_id = canonical.signed_id(event.id, event.signature)
        self._frames.append(call.call(call_id, event.name))

    def _argue(self, event: canonical.ToolCallDelta) -> None:
        call = self._calls.get(event.index)
        if call is not None:
            self._frames.append(call.argue(event.arguments))

    def _show(self, event: canonical.MediaMade) -> None:
        if event.media.kind != "image":
            return  # a response has no place for sounds
        self._close_current("completed")
        image = self._new(ImageItem)
        self._frames.append(image.show(event.media))
        self._output[image.output_index] = image.told("completed")

    def _finish(self, event: canonical.Finished) -> None:
        self._reason = event.reason

    def _count(self, event: canonical.UsageReported) -> None:
        self._usage = event.usage

    # Items, one after the other

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            for kind in ("response.created", "response.in_progress"):
                self._frames.append(self._events.event(kind, response=self._response))

    def _turn_to(self, kind: type[Opened]) -> Opened:
        """The open item of this kind; another that is open is closed before."""
        if isinstance(self._current, kind):
            return self._current
        self._close_current("completed")
        self._close_whole_calls()
        item = self._new(kind)
        self._current = item
        self._frames.append(item.opened())
        return item

    def _new(self, kind: type[Opened]) -> Opened:
        self._begin()
        index = len(self._items)
        item = kind(self._events, f"{kind.prefix}_{self._name}{index:04x}", index)
        self._items.append(item)
        return item

    def _close_current(self, status: str) -> None:
        if self._current is not None:
            self._close(self._current, status)
            self._current = None

    def _close_whole_calls(self) -> None:
        """Close the calls that nothing can be added to, for something else begins."""
        for index, call in list(self._calls.items()):
            if call.is_whole:
                self._close(self._calls.pop(index), "completed")

    def _close_all(self, status: str) -> None:
        for call in self._calls.values():
            self._close(call, "completed" if call.is_whole else status)
        self._calls.clear()
        self._close_current(status)

    def _close(self, item: Item, status: str) -> None:
        self._frames.append(item.closed(status))
        self._output[item.output_index] = item.told(status)

    def _told(self) -> list[Json]:
        return [self._output[place] for place in sorted(self._output)]

    def _written(self) -> bytes:
        written = b"".join(self._frames)
        self._frames.clear()
        return written


_HANDLERS: Mapping[type, Callable[[ResponseWriter, Any], None]] = {
    canonical.Started: ResponseWriter._start,
    canonical.TextDelta: ResponseWriter._say,
    canonical.RefusalDelta: ResponseWriter._refuse,
    canonical.Annotated: ResponseWriter._annotate,
    canonical.LogProbs: ResponseWriter._note_logprobs,
    canonical.ThinkingDelta: ResponseWriter._think,
    canonical.ThinkingSigned: ResponseWriter._sign,
    canonical.ThinkingRedacted: ResponseWriter._redact,
    canonical.ToolCallStarted: ResponseWriter._call,
    canonical.ToolCallDelta: ResponseWriter._argue,
    canonical.MediaMade: ResponseWriter._show,
    canonical.Finished: ResponseWriter._finish,
    canonical.UsageReported: ResponseWriter._count,
}


def write_response(events: Sequence[Event], request: Json) -> Json:
    """The whole answer to `request`."""
    writer = ResponseWriter(request)
    for event in events:
        writer.write(event)
    return writer.finished()


def _signature_told(signature: str) -> str:
    """A signature of the hub's, for the client."""
    return unmarked(OPENAI, signature) or named(signature)


def custom_tools(request: Json) -> set[str]:
    """The names of the tools in a request that take free input."""
    tools = map(mapping, items(request.get("tools")))
    return {str(tool.get("name")) for tool in tools if tool.get("type") == "custom"}


def _opening(request: Json, name: str) -> Json:
    told = {field: request.get(field) for field in _ECHOED}
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": request.get("model") or "",
        "output": [],
        "store": False,
        "usage": None,
        **{field: _ECHOED[field] if told[field] is None else told[field] for field in _ECHOED},
    }


def _flat(annotation: Json) -> Json:
    """An annotation as responses have it: chat completions put its fields one level deeper."""
    kind = str(annotation.get("type") or "")
    inside = mapping(annotation.get(kind))
    if not inside:
        return annotation
    return {"type": kind, "start_index": 0, "end_index": 0, "title": "", **inside}
