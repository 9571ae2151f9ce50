"""Amazon Bedrock's Converse and ConverseStream: answers, and what is asked by them.

docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    Media,
    MediaMade,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
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
    items,
    mapping,
)
from gateway.dialects.bedrock_converse import event_stream
from gateway.dialects.bedrock_converse.upstream_request import written
from lib.json_reading import loads
from lib.tokens import TokenUsage

#: What stops a model. The others mean that it came to its end.
_FINISH = {
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
#: The model wrote something that Bedrock itself could not read.
_MALFORMED = frozenset({"malformed_model_output", "malformed_tool_use"})
#: What exceptions inside a stream would have been as a status.
_STATUSES = {
    "modelErrorException": 424,
    "modelStreamErrorException": 424,
    "modelTimeoutException": 408,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}


class BedrockConverse(UpstreamHalf[ChatRequest]):
    """Every model of Bedrock's that converses. The path says whether it streams."""

    name = "bedrock-converse"
    task = "chat"
    stream_type = event_stream.MEDIA_TYPE

    def framing(self) -> Framing:
        return event_stream.EventStreamFramer()

    def write_request(self, request: ChatRequest, to: Destination, drops: Drops) -> Json:
        return written(request, to, drops)

    def is_answer(self, body: Any) -> bool:
        message = mapping(mapping(mapping(body).get("output")).get("message"))
        return isinstance(message.get("content"), list)

    def failure_in(self, body: Any) -> Json | None:
        reason = _text(mapping(body).get("stopReason"))
        return _malformed(reason) if reason in _MALFORMED else None

    def read_response(self, body: Json) -> list[Event]:
        message = mapping(mapping(body.get("output")).get("message"))
        events: list[Event] = [_started()]
        calls = 0
        for block in map(mapping, items(message.get("content"))):
            events += _events_of(block, calls)
            calls += "toolUse" in block
        events += _finished(body)
        events += _usage_reported(body)
        return events

    def stream_reader(self) -> StreamReader:
        return ConverseReader()


class ConverseReader(StreamReader):
    """Reads one ConverseStream, in the frames that its framing makes."""

    def __init__(self) -> None:
        #: The calls' numbers, by the blocks that hold them.
        self._calls: dict[int, int] = {}
        #: Of those, the ones with no input so far.
        self._without_input: set[int] = set()
        self._has_finished = False

    def read(self, frames: bytes) -> Iterator[Event]:
        for frame in sse.split(frames):
            for name, payload in _parsed(frame).items():
                for event in self._events(name, mapping(payload)):
                    yield event
                    if isinstance(event, Ended | Failed):
                        return

    def close(self) -> Iterator[Event]:
        # What may be missing after the reason to stop is the usage, and that can be counted.
        if self._has_finished:
            yield Ended()

    def _events(self, name: str, payload: Mapping[str, Any]) -> Iterable[Event]:
        match name:
            case "contentBlockDelta":
                return self._deltas(payload)
            case "contentBlockStart":
                return self._block_started(payload)
            case "contentBlockStop":
                return self._block_stopped(payload)
            case "messageStart":
                return [_started()]
            case "messageStop":
                self._has_finished = True
                return _finished(payload)
            case "metadata":
                return [*_usage_reported(payload), Ended()]
            case event_stream.EXCEPTION:
                return [Failed(_failure(payload))]
        return ()

    def _block_started(self, payload: Mapping[str, Any]) -> Iterator[Event]:
        call = mapping(payload.get("start")).get("toolUse")
        if isinstance(call, dict):
            index = self._calls[integer(payload.get("contentBlockIndex"))] = len(self._calls)
            self._without_input.add(index)
            yield _call_started(index, call)

    def _block_stopped(self, payload: Mapping[str, Any]) -> Iterator[Event]:
        index = self._calls.get(integer(payload.get("contentBlockIndex")))
        if index in self._without_input:
            yield ToolCallDelta(index, "{}")

    def _deltas(self, payload: Mapping[str, Any]) -> Iterator[Event]:
        delta = mapping(payload.get("delta"))
        if text := _text(delta.get("text")):
            yield TextDelta(text)
        elif thought := delta.get("reasoningContent"):
            yield from _thoughts(mapping(thought))
        elif call := delta.get("toolUse"):
            index = self._calls.get(integer(payload.get("contentBlockIndex")))
            arguments = _text(mapping(call).get("input"))
            if index is not None and arguments:
                self._without_input.discard(index)
                yield ToolCallDelta(index, arguments)


def _parsed(frame: bytes) -> Json:
    event = loads(sse.data_of(frame))
    if not isinstance(event, dict):
        raise ValueError("An event must be an object.")  # noqa: TRY004  # malformed, like bad JSON
    return event


def _started() -> Started:
    # Bedrock names an answer only in a header.
    return Started(f"converse-{token_hex(12)}", "")


def _events_of(block: Mapping[str, Any], calls: int) -> Iterator[Event]:
    """The events in one block of a whole answer, after so many calls."""
    if text := _text(block.get("text")):
        yield TextDelta(text)
    for cited in items(mapping(block.get("citationsContent")).get("content")):
        yield TextDelta(_text(mapping(cited).get("text")))
    if thought := mapping(block.get("reasoningContent")):
        yield from _thoughts(mapping(thought.get("reasoningText")))
        yield from _thoughts(thought)
    if "toolUse" in block:
        call = mapping(block["toolUse"])
        yield _call_started(calls, call)
        yield ToolCallDelta(calls, orjson.dumps(call.get("input") or {}).decode())
    if image := mapping(block.get("image")):
        yield from _image(image)


def _thoughts(thought: Mapping[str, Any]) -> Iterator[Event]:
    if text := _text(thought.get("text")):
        yield ThinkingDelta(text)
    if signature := _text(thought.get("signature")):
        yield ThinkingSigned(signature)
    if redacted := _text(thought.get("redactedContent")):
        yield ThinkingRedacted(redacted)


def _call_started(index: int, call: Mapping[str, Any]) -> ToolCallStarted:
    return ToolCallStarted(index, _text(call.get("toolUseId")), _text(call.get("name")))


def _image(image: Mapping[str, Any]) -> Iterator[Event]:
    data = _text(mapping(image.get("source")).get("bytes"))
    if data:
        kind = _text(image.get("format")) or "png"
        yield MediaMade(Media("image", f"image/{kind}", data=data))


def _finished(body: Mapping[str, Any]) -> list[Event]:
    """The reason to stop, in a whole answer or in the event that ends a streamed one."""
    reason = _text(body.get("stopReason"))
    if reason in _MALFORMED:
        return [Failed(_malformed(reason))]
    more = mapping(body.get("additionalModelResponseFields"))
    sequence = _text(more.get("stop_sequence"))
    return [Finished(_FINISH.get(reason, "stop"), sequence)]


def _usage_reported(body: Mapping[str, Any]) -> list[Event]:
    usage = read_usage(body.get("usage"))
    return [UsageReported(usage)] if usage else []


def read_usage(usage: Any) -> TokenUsage | None:
    """The classes of tokens. `inputTokens` are those that no cache read or wrote.

    docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html: all of the input is
    inputTokens, cacheReadInputTokens and cacheWriteInputTokens together.
    """
    told = mapping(usage)
    if told.get("inputTokens") is None and told.get("outputTokens") is None:
        return None
    cached = integer(told.get("cacheReadInputTokens"))
    written = integer(told.get("cacheWriteInputTokens"))
    details = map(mapping, items(told.get("cacheDetails")))
    hour = sum(integer(each.get("inputTokens")) for each in details if each.get("ttl") == "1h")
    return TokenUsage(
        input_tokens=integer(told.get("inputTokens")) + cached + written,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(hour, written),
        output_tokens=integer(told.get("outputTokens")),
    )


def _failure(exception: Mapping[str, Any]) -> Json:
    kind = _text(exception.get("type"))
    # Exceptions are named as in an answer's header in some places, and as events in others.
    name = kind[:1].lower() + kind[1:]
    message = _text(exception.get("message"))
    return {"message": message, "type": kind, "status": _STATUSES.get(name, 500)}


def _malformed(reason: str) -> Json:
    return {"message": "The model's output was malformed.", "type": reason, "status": 502}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


bedrock_converse = BedrockConverse()
