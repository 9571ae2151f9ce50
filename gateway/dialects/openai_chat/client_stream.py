"""Streams for clients of chat completions, written from events."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from uuid import uuid4

import orjson

from gateway.canonical import (
    Annotated,
    Event,
    Finished,
    Json,
    LogProbs,
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
    signed_id,
)
from gateway.dialects.base import StreamWriter, mapping
from gateway.dialects.openai import DONE, MOST_CHOICES, error_frame
from gateway.dialects.openai_chat.client_answer import hidden_detail, image_part, signed_detail
from gateway.dialects.openai_usage import write_usage
from lib.errors import CourierError
from lib.tokens import TokenUsage


class Opened:
    """One answer of a stream, so far."""

    __slots__ = ("calls", "finish", "listed", "thoughts", "with_arguments")

    def __init__(self) -> None:
        self.finish = ""
        #: The words of the thoughts that are not signed yet.
        self.thoughts: list[str] = []
        #: How many entries of each list the client has.
        self.listed: dict[str, int] = {}
        #: Calls that have begun, and those of them whose arguments have.
        self.calls: list[int] = []
        self.with_arguments: set[int] = set()

    def place_in(self, name: str) -> int:
        """The place of a new entry of a list: SDKs join lists by it."""
        place = self.listed.get(name, 0)
        self.listed[name] = place + 1
        return place


class ChatWriter(StreamWriter):
    """Writes one stream of chunks."""

    def __init__(self, request: Json) -> None:
        self._model = str(request.get("model") or "")
        self._asks_usage = mapping(request.get("stream_options")).get("include_usage") is True
        self._tail = b',"usage":null}\n\n' if self._asks_usage else b"}\n\n"
        self._head = b""
        self._opened: list[Opened] = []
        self._usage: TokenUsage | None = None
        self._reason = "stop"

    def write(self, event: Event) -> bytes:
        match event:
            case TextDelta(text, choice) if choice < len(self._opened):
                # Nearly every event.
                return self._chunk(b'{"content":' + orjson.dumps(text) + b"}", choice)
            case Started(id, model):
                self._begin(id, model)
                return b""
            case UsageReported(usage):
                self._usage = usage
                return b""
        write = self._writers.get(type(event))
        if write is None or event.choice >= MOST_CHOICES:  # type: ignore[union-attr]  # all have it
            return b""
        return write(self, event)

    def _begin(self, answer_id: str, model: str) -> None:
        head = {
            "id": answer_id or f"chatcmpl-{uuid4().hex}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model or self._model,
        }
        self._head = b"data: " + orjson.dumps(head)[:-1] + b',"choices":['

    def _begun(self, choice: int) -> bytes:
        """The chunks that open this choice and those before it, unless they are open."""
        if choice < len(self._opened):
            return b""
        if not self._head:
            self._begin("", "")
        opening = b""
        for index in range(len(self._opened), choice + 1):
            self._opened.append(Opened())
            opening += self._chunk(b'{"role":"assistant","content":"","refusal":null}', index)
        return opening

    def _chunk(
        self, delta: bytes, choice: int, finish: bytes = b"null", logprobs: bytes = b"null"
    ) -> bytes:
        return b'%b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            self._head,
            choice,
            delta,
            logprobs,
            finish,
            self._tail,
        )

    def _said(self, delta: Json, choice: int) -> bytes:
        return self._begun(choice) + self._chunk(orjson.dumps(delta), choice)

    def _listed(self, name: str, entry: Json, choice: int) -> bytes:
        opening = self._begun(choice)
        entry = {**entry, "index": self._opened[choice].place_in(name)}
        return opening + self._said({name: [entry]}, choice)

    def _text(self, event: TextDelta) -> bytes:
        return self._said({"content": event.text}, event.choice)

    def _refusal(self, event: RefusalDelta) -> bytes:
        return self._said({"refusal": event.text}, event.choice)

    def _thought(self, event: ThinkingDelta) -> bytes:
        written = self._said({"reasoning_content": event.text}, event.choice)
        self._opened[event.choice].thoughts.append(event.text)
        return written

    def _signature(self, event: ThinkingSigned) -> bytes:
        opening = self._begun(event.choice)
        thoughts = self._opened[event.choice].thoughts
        detail = signed_detail("".join(thoughts), event.signature)
        thoughts.clear()
        return opening + self._listed("reasoning_details", detail, event.choice)

    def _hidden(self, event: ThinkingRedacted) -> bytes:
        return self._listed("reasoning_details", hidden_detail(event.data), event.choice)

    def _annotation(self, event: Annotated) -> bytes:
        return self._listed("annotations", event.annotation, event.choice)

    def _media(self, event: MediaMade) -> bytes:
        if event.media.kind == "image":
            return self._listed("images", image_part(event.media), event.choice)
        return self._said({"audio": {"data": event.media.data}}, event.choice)

    def _logprobs(self, event: LogProbs) -> bytes:
        told = orjson.dumps({"content": event.tokens, "refusal": None})
        return self._begun(event.choice) + self._chunk(b"{}", event.choice, logprobs=told)

    def _call(self, event: ToolCallStarted) -> bytes:
        opening = self._begun(event.choice)
        self._opened[event.choice].calls.append(event.index)
        return opening + self._said(self.call_begun(event), event.choice)

    def _arguments(self, event: ToolCallDelta) -> bytes:
        opening = self._begun(event.choice)
        self._opened[event.choice].with_arguments.add(event.index)
        return opening + self._said(self.call_continued(event), event.choice)

    def _finish(self, event: Finished) -> bytes:
        opening = self._begun(event.choice)
        self._opened[event.choice].finish = self._reason = event.reason
        return opening

    def close(self) -> bytes:
        ending = [self._begun(0)]
        for index, choice in enumerate(self._opened):
            ending += [
                self._arguments(ToolCallDelta(call, "{}", index))
                for call in choice.calls
                if call not in choice.with_arguments
            ]
            reason = self.reason(choice.finish or self._reason)
            ending.append(self._chunk(b"{}", index, finish=orjson.dumps(reason)))
        if self._asks_usage and self._usage:
            told = orjson.dumps(write_usage(self._usage))
            ending.append(self._head + b'],"usage":' + told + b"}\n\n")
        return b"".join([*ending, DONE])

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return error_frame(error, request_id)

    def call_begun(self, event: ToolCallStarted) -> Json:
        """The delta that tells of a call."""
        call = {
            "index": event.index,
            "id": signed_id(event.id, event.signature),
            "type": "function",
            "function": {"name": event.name, "arguments": ""},
        }
        return {"tool_calls": [call]}

    def call_continued(self, event: ToolCallDelta) -> Json:
        """The delta that tells of a piece of a call's arguments."""
        return {"tool_calls": [{"index": event.index, "function": {"arguments": event.arguments}}]}

    def reason(self, reason: str) -> str:
        """The reason to finish, as the client knows it."""
        return reason

    _writers: ClassVar[Mapping[type, Callable[[Any, Any], bytes]]] = {
        TextDelta: _text,
        RefusalDelta: _refusal,
        ThinkingDelta: _thought,
        ThinkingSigned: _signature,
        ThinkingRedacted: _hidden,
        Annotated: _annotation,
        MediaMade: _media,
        LogProbs: _logprobs,
        ToolCallStarted: _call,
        ToolCallDelta: _arguments,
        Finished: _finish,
    }


class LegacyChatWriter(ChatWriter):
    """Writes for a client that knows functions only, of which an answer calls one."""

    def call_begun(self, event: ToolCallStarted) -> Json:
        if event.index:
            return {}
        return {"function_call": {"name": event.name, "arguments": ""}}

    def call_continued(self, event: ToolCallDelta) -> Json:
        return {} if event.index else {"function_call": {"arguments": event.arguments}}

    def reason(self, reason: str) -> str:
        return "function_call" if reason == "tool_calls" else reason
