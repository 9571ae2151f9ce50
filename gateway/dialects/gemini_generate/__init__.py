"""Gemini's generateContent (ai.google.dev/api/generate-content).

The model stands in the path, and so does whether the answer is a stream; a request's body
passes as it is. What needs the format's inside is beside this module, by its noun.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from gateway import sse
from gateway.canonical import ChatRequest, Event
from gateway.dialects.base import (
    ClientHalf,
    Destination,
    Drops,
    Json,
    PassThroughDialect,
    StreamReader,
    StreamWatch,
    StreamWriter,
    UpstreamHalf,
    integer,
    items,
    mapping,
)
from gateway.dialects.gemini_generate import (
    client_answer,
    client_request,
    upstream_answer,
    upstream_request,
)
from gateway.dialects.gemini_generate.errors import write_error
from gateway.dialects.gemini_generate.fields import count, parts_of, told
from gateway.dialects.gemini_generate.upstream_answer import failure_of, parsed
from gateway.dialects.gemini_generate.usage import knows_output, read_usage, write_usage
from gateway.dialects.openai import CHARACTERS_PER_TOKEN, length_of
from gateway.dialects.seen_words import ReadWords
from lib.errors import CourierError
from lib.tokens import TokenUsage

#: Tokens of an image or of a page, as Google counts small ones.
TOKENS_PER_MEDIA = 258
#: Answers that are ended early, at most.
MOST_CANDIDATES = 128


class GeminiWatch(StreamWatch):
    """Looks at one stream. It has no end marker: it is complete if all that began has finished."""

    __slots__ = ("_finished", "_head", "_is_blocked", "_seen", "_words")

    def __init__(self) -> None:
        super().__init__()
        #: What all events of the stream have in common.
        self._head: Json = {}
        self._words = ReadWords()
        #: The candidates that have begun, and those that have come to their end.
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._is_blocked = False

    def see(self, frames: bytes) -> bytes:
        for frame in sse.split(frames):
            answer = parsed(frame)
            if answer:
                self._look_at(answer)
        return frames

    def close(self) -> bytes:
        self.is_complete = self._has_ended
        return b""

    def _look_at(self, answer: Json) -> None:
        if "error" in answer:
            self.failure = failure_of(answer)
        if not self._head:
            self._head = {name: answer[name] for name in _MARKS if name in answer}
        for candidate in items(answer.get("candidates")):
            if isinstance(candidate, dict):
                self._hear(candidate)
        if mapping(answer.get("promptFeedback")).get("blockReason"):
            self._is_blocked = self.has_output = True
        usage = read_usage(answer.get("usageMetadata"))
        if usage:
            self.usage = usage
            self.knows_output = knows_output(answer["usageMetadata"], finished=self._has_ended)

    @property
    def _has_ended(self) -> bool:
        return self._is_blocked or (bool(self._seen) and self._seen == self._finished)

    def _hear(self, candidate: Json) -> None:
        index = integer(candidate.get("index"))
        self._seen.add(index)
        for part in _parts_in(candidate):
            self.has_output = True
            self._words.keep(_words_in(part))
        if candidate.get("finishReason"):
            self.has_output = True
            self._finished.add(index)

    def ending(self, reason: str, used: TokenUsage) -> bytes:
        open_ones = sorted((self._seen or {0}) - self._finished)[:MOST_CANDIDATES]
        candidates = [client_answer.ended(index, reason) for index in open_ones]
        last = {"candidates": candidates, "usageMetadata": write_usage(used), **self._head}
        return sse.frame_of(orjson.dumps(last))

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return gemini_generate.error_frame(error, request_id)

    def seen_text(self) -> str:
        return self._words.text()

    def output_estimate(self) -> int:
        return self._words.token_estimate()


_MARKS = ("modelVersion", "responseId")


class GeminiGenerate(PassThroughDialect, ClientHalf[ChatRequest], UpstreamHalf[ChatRequest]):
    """generateContent and streamGenerateContent."""

    name = "gemini-generate"
    task = "chat"
    operation = "generate_content"
    field_names = client_request.FIELD_NAMES
    #: No comment: Google's Python client takes one for an event.
    keep_alive = b"\n"

    def remark(self, text: str) -> bytes:
        return b"\n"

    def write_error(self, error: CourierError, request_id: str) -> bytes:
        return write_error(error, request_id)

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return sse.frame_of(write_error(error, request_id))

    def readdress(self, raw: bytes, body: Json, model: str) -> bytes:
        return raw

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and bool(
            items(body.get("candidates")) or mapping(body.get("promptFeedback"))
        )

    def failure_in(self, body: Any) -> Json | None:
        # Google puts an error to a stream into a list.
        first = body[0] if isinstance(body, list) and body else body
        return failure_of(mapping(first))

    def usage_in(self, body: Json) -> TokenUsage | None:
        return read_usage(body.get("usageMetadata"))

    def text_in(self, body: Json) -> str:
        candidates = [each for each in items(body.get("candidates")) if isinstance(each, dict)]
        parts = (part for candidate in candidates for part in _parts_in(candidate))
        return "\n".join(filter(None, map(_words_in, parts)))

    def watch(self, request: Json) -> StreamWatch:
        return GeminiWatch()

    def input_text(self, body: Json) -> str:
        return "\n".join(filter(None, _words_asked(body)))

    def input_estimate(self, body: Json) -> int:
        characters = sum(map(length_of, _words_asked(body)))
        parts = (part for content in _contents(body) for part in parts_of(content))
        media = sum(bool(told(p, "inlineData") or told(p, "fileData")) for p in parts)
        return characters // CHARACTERS_PER_TOKEN + media * TOKENS_PER_MEDIA + 1

    def output_bound(self, body: Json) -> int:
        return _most(body, "maxOutputTokens", "max_output_tokens") * self.answers_asked(body)

    def answers_asked(self, body: Json) -> int:
        return max(_most(body, "candidateCount", "candidate_count"), 1)

    def read_request(self, body: Json) -> ChatRequest:
        return client_request.read_request(body)

    def write_response(self, events: Sequence[Event], request: Json) -> Json:
        return client_answer.write_response(events)

    def stream_writer(self, request: Json) -> StreamWriter:
        return client_answer.GeminiWriter()

    def write_request(self, request: ChatRequest, to: Destination, drops: Drops) -> Json:
        return upstream_request.write_request(request, to, drops)

    def read_response(self, body: Json) -> list[Event]:
        return upstream_answer.read_response(body)

    def stream_reader(self) -> StreamReader:
        return upstream_answer.GeminiReader()


def _parts_in(candidate: Json) -> Iterator[Json]:
    parts = items(mapping(candidate.get("content")).get("parts"))
    return (part for part in parts if isinstance(part, dict))


def _words_in(part: Json) -> str:
    """The model's own words in a part of its answer."""
    text = part.get("text")
    if isinstance(text, str):
        return text
    call = mapping(part.get("functionCall"))
    if call:
        return f"{call.get('name')}{orjson.dumps(call.get('args') or {}).decode()}"
    return str(mapping(part.get("executableCode")).get("code") or "")


def _most(body: Json, *names: str) -> int:
    """The largest of the counts that a request gives, in whichever spelling."""
    configs = (mapping(body.get(name)) for name in ("generationConfig", "generation_config"))
    return max(count(config.get(name)) for config in configs for name in names)


def _contents(body: Json) -> Sequence[Any]:
    contents = told(body, "contents")
    return [contents] if isinstance(contents, dict) else items(contents)


def _words_asked(body: Json) -> Iterator[str]:
    """What the model reads."""
    yield client_request.words_of(told(body, "systemInstruction"))
    for content in _contents(body):
        for part in parts_of(content):
            text = part.get("text")
            yield text if isinstance(text, str) else _words_beside(part)
    if body.get("tools"):
        yield orjson.dumps(body["tools"]).decode()
    config = mapping(told(body, "generationConfig"))
    schema = told(config, "responseSchema") or told(config, "responseJsonSchema")
    if schema:
        yield orjson.dumps(schema).decode()


def _words_beside(part: Json) -> str:
    given = told(part, "functionCall") or told(part, "functionResponse")
    return orjson.dumps(given).decode() if given else ""


gemini_generate = GeminiGenerate()
