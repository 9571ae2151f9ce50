"""Writes answers as Anthropic's clients read them: events of blocks, one open at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import orjson

from gateway import canonical
from gateway.canonical import Event, signed_id
from gateway.dialects.anthropic_messages.upstream_turns import INVALID_JSON
from gateway.dialects.anthropic_messages.usage import written_usage
from gateway.dialects.anthropic_messages.vocabulary import STOPPED_EARLY, error_frame, event_frame
from gateway.dialects.anthropic_messages.watch import block_stop, message_end
from gateway.dialects.base import Json, StreamWriter, mapping
from gateway.dialects.signatures import UNSIGNED
from lib.errors import CourierError
from lib.json_reading import loads
from lib.tokens import TokenUsage

#: Anthropic's reasons to stop, by canonical ones.
_STOPPED = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
    b'"delta":{"type":"%b","%b":%b}}\n\n'
)


class _Block:
    """One block of the answer: open on the wire, or waiting for its turn."""

    __slots__ = ("content", "deltas", "has_ended", "tool", "written")

    def __init__(self, content: Json, tool: int | None = None) -> None:
        #: As it is opened, without what its deltas add.
        self.content = content
        self.tool = tool
        #: Kind of delta, its field, and its value.
        self.deltas: list[tuple[bytes, bytes, Any]] = []
        self.written = 0
        self.has_ended = False

    @property
    def kind(self) -> str:
        return str(self.content["type"])

    def joined(self, field: bytes) -> str:
        return "".join(value for _, name, value in self.deltas if name == field)

    def is_whole(self) -> bool:
        """Whether nothing of it can be missing: text may end at any time, JSON may not."""
        if self.tool is None:
            return True
        last = self.deltas[-1][2] if self.deltas else ""
        return _ends_object(last) and _object_in(self.joined(b"partial_json")) is not None


class _Blocks:
    """Sorts the events of an answer into its blocks."""

    __slots__ = ("finished", "head", "model", "queue", "tools", "used")

    def __init__(self, model: str) -> None:
        self.head = ""
        self.model = model
        #: Blocks in their order; the first is the one that is open.
        self.queue: deque[_Block] = deque()
        self.tools: dict[int, _Block] = {}
        self.finished: canonical.Finished | None = None
        self.used: TokenUsage | None = None

    def add(self, event: Event) -> None:
        if getattr(event, "choice", 0):
            return  # nobody who speaks this format can ask for several answers
        match event:
            case canonical.TextDelta(text=text) | canonical.RefusalDelta(text=text):
                self._delta("text", b"text_delta", b"text", text)
            case canonical.ToolCallDelta(index=index, arguments=arguments):
                if index in self.tools:
                    self.tools[index].deltas.append(
                        (b"input_json_delta", b"partial_json", arguments)
                    )
            case canonical.ThinkingDelta(text=text):
                self._delta("thinking", b"thinking_delta", b"thinking", text)
            case canonical.ToolCallStarted():
                self._start_tool(event)
            case _:
                self._add_rare(event)

    def _add_rare(self, event: Event) -> None:
        match event:
            case canonical.Started(id=told, model=model):
                self.head = told
                self.model = model or self.model
            case canonical.ThinkingSigned(signature=signature) if signature:
                self._delta("thinking", b"signature_delta", b"signature", signature)
                self.queue[-1].has_ended = True
            case canonical.ThinkingRedacted(data=data):
                self._open(_Block({"type": "redacted_thinking", "data": data}))
                self.queue[-1].has_ended = True
            case canonical.Annotated(annotation=annotation):
                self._cite(annotation)
            case canonical.Finished():
                self.finished = event
            case canonical.UsageReported(usage=usage):
                self.used = usage

    def _delta(self, kind: str, delta: bytes, field: bytes, value: str) -> None:
        if not self.queue or self.queue[-1].kind != kind or self.queue[-1].has_ended:
            if not value:
                return
            self._open(_Block(_EMPTY[kind].copy()))
        self.queue[-1].deltas.append((delta, field, value))

    def _start_tool(self, event: canonical.ToolCallStarted) -> None:
        told = signed_id(event.id or f"toolu_{uuid4().hex}", event.signature)
        content = {"type": "tool_use", "id": told, "name": event.name, "input": {}}
        self.tools[event.index] = block = _Block(content, event.index)
        self._open(block)

    def _open(self, block: _Block) -> None:
        self._end_last()
        self.queue.append(block)

    def end(self) -> None:
        """Nothing more will come."""
        self._end_last()
        for block in self.queue:
            block.has_ended = True

    def _end_last(self) -> None:
        last = self.queue[-1] if self.queue else None
        if last is None or last.has_ended or last.tool is not None:
            return
        last.has_ended = True
        if last.kind == "thinking":
            # Anthropic would refuse the block, if the client took it there as it is.
            last.deltas.append((b"signature_delta", b"signature", UNSIGNED))

    def _cite(self, annotation: Json) -> None:
        cited = mapping(annotation.get("url_citation"))
        if self.queue and self.queue[-1].kind == "text" and cited.get("url"):
            citation = {
                "type": "web_search_result_location",
                "url": cited["url"],
                "title": cited.get("title"),
                "cited_text": "",
                "encrypted_index": "",
            }
            self.queue[-1].deltas.append((b"citations_delta", b"citation", citation))

    @property
    def message(self) -> Json:
        """The message without its content."""
        head = self.head or uuid4().hex
        return {
            "id": head if head.startswith("msg_") else f"msg_{head}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": written_usage(self.used or TokenUsage()),
        }

    def stop(self) -> tuple[str, str | None]:
        """The reason to stop, and the stop sequence that was met."""
        reason = self.finished.reason if self.finished else "stop"
        met = self.finished.stop_sequence if self.finished else ""
        if reason in {"stop", "tool_calls"}:
            # Servers say the one where they mean the other; clients wait for a result, or do not.
            reason = "tool_calls" if self.tools else "stop"
        if reason == "stop" and met:
            return "stop_sequence", met
        return _STOPPED.get(reason, STOPPED_EARLY), None


_EMPTY: dict[str, Json] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


class MessagesWriter(StreamWriter):
    """One stream: a block is written while it grows, the ones behind it wait for its end."""

    def __init__(self, request: Json) -> None:
        self._blocks = _Blocks(str(request.get("model") or ""))
        self._has_begun = False
        self._open = False
        self._index = 0

    def write(self, event: Event) -> bytes:
        self._blocks.add(event)
        return self._written() if self._blocks.queue else b""

    def close(self) -> bytes:
        self._blocks.end()
        frames = self._begin() + self._written()
        if self._open:
            frames += self._shut()
        usage = written_usage(self._blocks.used or TokenUsage())
        return frames + message_end(*self._blocks.stop(), usage)

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return error_frame(error, request_id)

    def _begin(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        start = {"type": "message_start", "message": self._blocks.message}
        return event_frame("message_start", start)

    def _written(self) -> bytes:
        """What can be told by now, in order."""
        frames = b"" if self._has_begun else self._begin()
        queue = self._blocks.queue
        while queue:
            frames += self._grown(queue[0])
            if len(queue) == 1 or not (queue[0].has_ended or queue[0].is_whole()):
                break
            frames += self._shut()
        return frames

    def _grown(self, block: _Block) -> bytes:
        frames = b""
        if not self._open:
            self._open = True
            start = {"type": "content_block_start", "index": self._index}
            frames = event_frame("content_block_start", {**start, "content_block": block.content})
        for kind, field, value in block.deltas[block.written :]:
            frames += _DELTA % (self._index, kind, field, orjson.dumps(value))
        if block.tool is None:
            block.deltas.clear()
        block.written = len(block.deltas)
        return frames

    def _shut(self) -> bytes:
        frame = block_stop(self._index)
        self._blocks.queue.popleft()
        self._open = False
        self._index += 1
        return frame


def write_response(events: Sequence[Event], request: Json) -> Json:
    """A whole answer."""
    blocks = _Blocks(str(request.get("model") or ""))
    for event in events:
        blocks.add(event)
    blocks.end()
    stop_reason, stop_sequence = blocks.stop()
    content = [_whole(block) for block in blocks.queue]
    return {
        **blocks.message,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
    }


def _whole(block: _Block) -> Json:
    """A block with what its deltas add."""
    if block.kind == "text":
        citations = [value for _, field, value in block.deltas if field == b"citation"]
        cited = {"citations": citations} if citations else {}
        return {**block.content, "text": block.joined(b"text"), **cited}
    if block.kind == "thinking":
        return {
            **block.content,
            "thinking": block.joined(b"thinking"),
            "signature": block.joined(b"signature"),
        }
    if block.kind == "tool_use":
        return {**block.content, "input": _input(block.joined(b"partial_json"))}
    return block.content


def _input(arguments: str) -> Json:
    if not arguments.strip():
        return {}
    given = _object_in(arguments)
    return {INVALID_JSON: arguments} if given is None else given


def _ends_object(arguments: str) -> bool:
    return arguments.rstrip().endswith("}")


def _object_in(arguments: str) -> Json | None:
    """The JSON object that a call's arguments are, if they are one and all there."""
    if not _ends_object(arguments):
        return None
    try:
        given = loads(arguments)
    except ValueError:
        return None
    return given if isinstance(given, dict) else None
