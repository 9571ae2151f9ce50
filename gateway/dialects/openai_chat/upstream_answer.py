"""Answers of chat completions, read into events, as the many servers of the format write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import orjson

from gateway import sse
from gateway.canonical import (
    Annotated,
    Ended,
    Event,
    Failed,
    Finished,
    Json,
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
from gateway.dialects.base import StreamReader, items, mapping
from gateway.dialects.json_values import objects
from gateway.dialects.openai_parts import media_in, thoughts_in
from gateway.dialects.openai_usage import read_chunk_usage, read_usage
from lib.json_reading import loads

#: Reasons to finish as vendors name them. What is not here is a usual stop.
REASONS = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral
    "insufficient_system_resource": "length",  # DeepSeek: broken off without a failure
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
}


class ChatReader(StreamReader):
    """Reads one stream of chunks."""

    def __init__(self) -> None:
        self._has_started = self._has_failed = False
        self._choices: dict[int, Choice] = {}

    def read(self, frames: bytes) -> Iterator[Event]:
        is_done = False
        reports_usage = b'"usage"' in frames
        for frame in sse.split(frames):
            data = sse.data_of(frame)
            if data.startswith(b"[DONE]"):
                is_done = True
            elif data:
                chunk = parsed(data)
                yield from self._read_chunk(chunk)
                if reports_usage and (usage := read_chunk_usage(chunk)):
                    yield UsageReported(usage)
        if is_done and not self._has_failed:
            for choice in self._choices.values():
                yield from choice.finish("stop")
            yield Ended()

    def _read_chunk(self, chunk: Json) -> Iterator[Event]:
        if chunk.get("error"):
            # Some servers send the end marker behind an error, too.
            self._has_failed = True
            yield Failed(_failure(chunk["error"]))
            return
        choices = items(chunk.get("choices"))
        if not self._has_started and (choices or chunk.get("id")):
            self._has_started = True
            yield _started(chunk)
        for place, given in enumerate(choices):
            choice = mapping(given)
            yield from self._choice(choice, place).read(mapping(choice.get("delta")), choice)

    def _choice(self, given: Mapping[str, Any], place: int) -> Choice:
        index = given.get("index")
        index = index if isinstance(index, int) else place
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = Choice(index)
        return choice


class Choice:
    """One of the answers, so far."""

    __slots__ = ("_calls", "_has_finished", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self._calls = Calls(index)
        self._has_finished = False

    def read(self, said: Mapping[str, Any], choice: Mapping[str, Any]) -> Iterator[Event]:
        """The events in a delta, or in a whole message, which is one large delta."""
        if len(said) == 1 and isinstance(text := said.get("content"), str):
            # Nearly every chunk.
            if text:
                yield TextDelta(text, self.index)
        else:
            yield from self._thoughts(said)
            yield from self._words(said)
            yield from self._beside_words(said)
            yield from self._calls.read(said)
        if tokens := objects(mapping(choice.get("logprobs")).get("content")):
            yield LogProbs(tokens, self.index)
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            yield from self.finish(reason, choice.get("stop_reason"))

    def finish(self, reason: str, stop_reason: Any = None) -> Iterator[Event]:
        """The end of the answer, once, whatever the reason is called."""
        if self._has_finished:
            return
        self._has_finished = True
        yield from self._calls.finish()
        known = REASONS.get(reason.lower(), "stop")
        if known == "stop" and self._calls.have_begun:
            known = "tool_calls"
        # vLLM says which stop sequence it was.
        sequence = stop_reason if isinstance(stop_reason, str) else ""
        yield Finished(known, sequence, self.index)

    def _thoughts(self, said: Mapping[str, Any]) -> Iterator[Event]:
        # Some send the same words under both names.
        words = said.get("reasoning_content") or said.get("reasoning")
        if isinstance(words, str) and words:
            yield ThinkingDelta(words, self.index)
        for given in items(said.get("thinking_blocks")):
            yield from self._signature(mapping(given))
        for given in items(said.get("reasoning_details")):
            detail = mapping(given)
            if not words and isinstance(text := detail.get("text"), str) and text:
                yield ThinkingDelta(text, self.index)
            yield from self._signature(detail)

    def _signature(self, block: Mapping[str, Any]) -> Iterator[Event]:
        """What vendors want to have back with thoughts, from LiteLLM and from OpenRouter."""
        signature, data = block.get("signature"), block.get("data")
        if isinstance(signature, str) and signature:
            yield ThinkingSigned(signature, self.index)
        elif isinstance(data, str) and _is_redacted(block):
            yield ThinkingRedacted(data, self.index)

    def _words(self, said: Mapping[str, Any]) -> Iterator[Event]:
        content = said.get("content")
        if isinstance(content, str) and content:
            yield TextDelta(content, self.index)
        for given in items(content):  # Mistral
            part = mapping(given)
            if thoughts := thoughts_in(part):
                yield ThinkingDelta(thoughts, self.index)
            elif isinstance(text := part.get("text"), str) and text:
                yield TextDelta(text, self.index)
        if isinstance(refusal := said.get("refusal"), str) and refusal:
            yield RefusalDelta(refusal, self.index)

    def _beside_words(self, said: Mapping[str, Any]) -> Iterator[Event]:
        for annotation in items(said.get("annotations")):
            if isinstance(annotation, dict):
                yield Annotated(annotation, self.index)
        for image in items(said.get("images")):  # OpenRouter
            for media in media_in(image):
                yield MediaMade(media, self.index)
        sound = mapping(said.get("audio"))
        if isinstance(transcript := sound.get("transcript"), str) and transcript:
            yield TextDelta(transcript, self.index)
        if isinstance(data := sound.get("data"), str) and data:
            yield MediaMade(Media("audio", data=data), self.index)


class Calls:
    """The calls of one answer: which fragment belongs to which."""

    __slots__ = ("_at", "_choice", "_count", "_last", "_without_arguments")

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._count = 0
        #: By the vendor's own index, or the call's id: our index and the id.
        self._at: dict[Any, tuple[int, str]] = {}
        self._last: tuple[int, str] | None = None
        self._without_arguments: set[int] = set()

    @property
    def have_begun(self) -> bool:
        return self._count > 0

    def read(self, said: Mapping[str, Any]) -> Iterator[Event]:
        for given in items(said.get("tool_calls")):
            call = mapping(given)
            yield from self._fragment(call, mapping(call.get("function")))
        if function := mapping(said.get("function_call")):
            yield from self._fragment({"index": 0}, function)

    def finish(self) -> Iterator[Event]:
        """Of functions that take nothing some servers send no arguments, which are no JSON."""
        for index in sorted(self._without_arguments):
            yield ToolCallDelta(index, "{}", self._choice)

    def _fragment(self, call: Mapping[str, Any], function: Mapping[str, Any]) -> Iterator[Event]:
        call_id, name = _word(call.get("id")), _word(function.get("name"))
        place = call.get("index")
        key = place if isinstance(place, int) else call_id
        at = self._at.get(key) if key != "" else self._known(call_id, name)
        if at is None or (call_id and name and at[1] != call_id):
            # Some number no calls, or all of them 0: a new id with a name is a new call.
            at = self._at[key] = self._last = (self._count, call_id or f"call_{uuid4().hex[:24]}")
            self._without_arguments.add(self._count)
            self._count += 1
            yield ToolCallStarted(*at, name, _signature_in(call), self._choice)
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            arguments = orjson.dumps(arguments).decode()
        if isinstance(arguments, str) and arguments:
            self._without_arguments.discard(at[0])
            yield ToolCallDelta(at[0], arguments, self._choice)

    def _known(self, call_id: str, name: str) -> tuple[int, str] | None:
        """The call that a fragment without index and id goes on with; None if it begins one."""
        return None if name else self._last


def _is_redacted(block: Mapping[str, Any]) -> bool:
    """Whether hidden thoughts are Anthropic's. Those of others mean nothing without their items."""
    return _word(block.get("format") or "anthropic").startswith("anthropic")


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _signature_in(call: Mapping[str, Any]) -> str:
    """Google's signature of the thoughts before a call, in its compatible format."""
    google = mapping(mapping(call.get("extra_content")).get("google"))
    return _word(google.get("thought_signature"))


def parsed(data: bytes) -> Json:
    """A chunk. Raises ValueError."""
    chunk = loads(data)
    if not isinstance(chunk, dict):
        raise ValueError("A chunk must be an object.")  # noqa: TRY004  # malformed, like bad JSON
    return chunk


def _failure(error: Any) -> Json:
    return error if isinstance(error, dict) else {"message": str(error)}


def _started(body: Json) -> Started:
    return Started(_word(body.get("id")), _word(body.get("model")))


def read_response(body: Json) -> list[Event]:
    """The events in a whole answer."""
    events: list[Event] = [_started(body)]
    for place, given in enumerate(items(body.get("choices"))):
        choice = mapping(given)
        read = Choice(place)
        events += read.read(mapping(choice.get("message")), choice)
        events += read.finish("stop")
    if usage := read_usage(body.get("usage")):
        events.append(UsageReported(usage))
    return events
