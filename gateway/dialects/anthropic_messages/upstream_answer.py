"""Reads the answers of a vendor that speaks Anthropic's format, whole or as events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from gateway import canonical, sse
from gateway.canonical import Event
from gateway.dialects.anthropic_messages.upstream_request import ANSWER_TOOL
from gateway.dialects.anthropic_messages.usage import merged, read_usage
from gateway.dialects.anthropic_messages.vocabulary import FINISHED, failure_of, is_error
from gateway.dialects.anthropic_messages.watch import parsed
from gateway.dialects.base import Json, StreamReader, items, mapping


class MessagesReader(StreamReader):
    """One stream."""

    def __init__(self) -> None:
        self._used: Json = {}
        self._blocks = _OpenBlocks()

    def read(self, frames: bytes) -> Iterable[Event]:
        for frame in sse.split(frames):
            event = parsed(frame)
            kind = event.get("type")
            if kind == "content_block_delta":
                yield from self._blocks.delta(mapping(event.get("delta")))
            elif kind == "content_block_start":
                yield from self._blocks.start(mapping(event.get("content_block")))
            elif kind == "content_block_stop":
                yield from self._blocks.stop()
            else:
                yield from self._of_the_message(event)

    def _of_the_message(self, event: Json) -> Iterator[Event]:
        kind = event.get("type")
        if kind == "message_start":
            message = mapping(event.get("message"))
            yield canonical.Started(str(message.get("id") or ""), str(message.get("model") or ""))
            yield from self._usage(message.get("usage"), before_output=True)
        elif kind == "message_delta":
            yield from self._blocks.finished(mapping(event.get("delta")))
            yield from self._usage(event.get("usage"))
        elif kind == "message_stop":
            yield canonical.Ended()
        elif is_error(event):
            yield canonical.Failed(failure_of(event))

    def _usage(self, told: Any, *, before_output: bool = False) -> Iterator[Event]:
        self._used = merged(self._used, told)
        usage = read_usage(self._used)
        if usage is not None:
            yield canonical.UsageReported(usage, before_output)


def read_response(body: Json) -> list[Event]:
    """The events in a whole answer."""
    events: list[Event] = [
        canonical.Started(str(body.get("id") or ""), str(body.get("model") or ""))
    ]
    blocks = _OpenBlocks()
    for block in items(body.get("content")):
        events += blocks.start(mapping(block))
        events += blocks.stop()
    events += blocks.finished(body)
    usage = read_usage(body.get("usage"))
    return [*events, canonical.UsageReported(usage)] if usage else events


class _OpenBlocks:
    """The blocks of one answer, one after the other, as events."""

    def __init__(self) -> None:
        self._kind = ""
        self._calls = 0
        #: Whether something of the open call's input has come.
        self._has_input = False
        self._signature = ""
        #: Characters of text so far, and those of them before the open block.
        self._length = self._begins_at = 0
        self._citations: list[Mapping[str, Any]] = []
        self._was_answered_by_tool = False

    def start(self, block: Mapping[str, Any]) -> Iterator[Event]:
        self._kind = str(block.get("type"))
        self._begins_at = self._length
        if self._kind == "text":
            self._citations += map(mapping, items(block.get("citations")))
            yield from self._text(block.get("text"))
        elif self._kind == "thinking":
            self._signature = str(block.get("signature") or "")
            yield from _thought(block.get("thinking"))
        elif self._kind == "redacted_thinking":
            yield canonical.ThinkingRedacted(str(block.get("data") or ""))
        elif self._kind == "tool_use":
            yield from self._start_call(block)

    def _start_call(self, block: Mapping[str, Any]) -> Iterator[Event]:
        name, given = str(block.get("name") or ""), block.get("input")
        self._has_input = False
        if name == ANSWER_TOOL:
            self._kind = ANSWER_TOOL
            self._was_answered_by_tool = True
        else:
            yield canonical.ToolCallStarted(self._calls, str(block.get("id") or ""), name)
            self._calls += 1
        if given and isinstance(given, dict):
            yield from self._input(orjson.dumps(given).decode())

    def delta(self, delta: Mapping[str, Any]) -> Iterator[Event]:
        kind = delta.get("type")
        if kind == "text_delta":
            yield from self._text(delta.get("text"))
        elif kind == "input_json_delta":
            yield from self._input(delta.get("partial_json"))
        elif kind == "thinking_delta":
            yield from _thought(delta.get("thinking"))
        elif kind == "signature_delta":
            self._signature += str(delta.get("signature") or "")
        elif kind == "citations_delta":
            self._citations.append(mapping(delta.get("citation")))

    def _text(self, text: Any) -> Iterator[Event]:
        if text and isinstance(text, str):
            self._length += len(text)
            yield canonical.TextDelta(text)

    def _input(self, piece: Any) -> Iterator[Event]:
        if not piece or not isinstance(piece, str):
            return
        self._has_input = True
        if self._kind == ANSWER_TOOL:
            yield from self._text(piece)
        elif self._kind == "tool_use":
            yield canonical.ToolCallDelta(self._calls - 1, piece)

    def stop(self) -> Iterator[Event]:
        kind, self._kind = self._kind, ""
        if kind == "tool_use" and not self._has_input:
            yield canonical.ToolCallDelta(self._calls - 1, "{}")
        if kind == "thinking" and self._signature:
            yield canonical.ThinkingSigned(self._signature)
            self._signature = ""
        for citation in self._citations:
            yield from self._annotated(citation)
        self._citations.clear()

    def _annotated(self, citation: Mapping[str, Any]) -> Iterator[Event]:
        """A source on the web. Places in documents have no counterpart elsewhere."""
        if citation.get("url"):
            cited = {
                "url": str(citation["url"]),
                "title": str(citation.get("title") or ""),
                "start_index": self._begins_at,
                "end_index": self._length,
            }
            yield canonical.Annotated({"type": "url_citation", "url_citation": cited})

    def finished(self, told: Mapping[str, Any]) -> Iterator[Event]:
        """The reason to stop, in the end of a message or in a whole one."""
        stopped = told.get("stop_reason")
        if not stopped:
            return
        reason = FINISHED.get(str(stopped), "stop")
        if reason == "tool_calls" and self._was_answered_by_tool and not self._calls:
            reason = "stop"
        yield canonical.Finished(reason, str(told.get("stop_sequence") or ""))


def _thought(text: Any) -> Iterator[Event]:
    if text and isinstance(text, str):
        yield canonical.ThinkingDelta(text)
