"""OpenAI's chat completions (platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from gateway import sse
from gateway.dialects.base import Json, StreamWatch, integer, items, mapping
from gateway.dialects.openai import (
    CHARACTERS_PER_TOKEN,
    TOKENS_PER_IMAGE,
    OpenAIDialect,
    images_in,
    length_of,
    text_of,
    unescaped,
    with_model,
)
from gateway.dialects.openai_usage import read_chunk_usage
from lib.errors import CourierError
from lib.tokens import TokenUsage

#: Where a chunk holds words of the model. Quotes inside JSON strings are escaped, so a
#: match is a real field; parsing every chunk would cost more than all the rest.
_WORDS = re.compile(
    rb'"(?:content|reasoning_content|reasoning|refusal|arguments|name)":\s*'
    rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
)
#: As servers write it, compact or not. In a string the quotes would be escaped.
_NULL_USAGE = (b',"usage":null', b', "usage": null')
#: Clients that ask for usage get a null in every chunk but one: only that one is parsed.
_REAL_USAGE = re.compile(rb'"usage"\s*:\s*\{')
#: What all chunks of a stream have in common.
_MARKS = ("id", "object", "created", "model", "system_fingerprint")
_ASK_FOR_USAGE = b'{"stream_options":{"include_usage":true},'
#: Words kept for counting, per stream, in bytes. What lies beyond is counted by its length.
MOST_WORDS = 512 * 1024
MOST_BEYOND = 16 * 1024 * 1024
#: Choices that are ended early, at most: OpenAI gives no more, and others ignore the number.
MOST_CHOICES = 128
#: Fields of a request that the model reads, beside its messages.
_READ_TOO = ("tools", "functions", "response_format")


class ChatWatch(StreamWatch):
    """Looks at one stream of chat completion chunks."""

    __slots__ = ("_beyond", "_choices", "_head", "_hides_usage", "_words")

    def __init__(self, *, hides_usage: bool, choices: int) -> None:
        super().__init__()
        self._hides_usage = hides_usage
        self._choices = min(choices, MOST_CHOICES)
        #: The marks that all chunks of the stream have in common.
        self._head: Json = {}
        self._words = bytearray()
        self._beyond = 0

    def see(self, frames: bytes) -> bytes:
        if not self.has_output:
            # Not a chunk further than needed: a burst may bring the whole answer at once.
            self._look_for_output(map(_parsed, sse.split(frames)))
        self._keep(b"".join(_WORDS.findall(frames)))
        if b'"usage"' in frames:
            frames = self._without_usage(frames)
        if b'"error"' in frames:
            self._note_failure(frames)
        if b"[DONE]" in frames and self.failure is None:
            # Some servers send the end marker behind an error, too.
            self.is_complete = _ends_with_done(frames)
        return frames

    def _look_for_output(self, chunks: Iterable[Json]) -> None:
        for chunk in chunks:
            self._head = self._head or {name: chunk[name] for name in _MARKS if name in chunk}
            if _has_output(chunk):
                self.has_output = True
                return

    def ending(self, reason: str, used: TokenUsage) -> bytes:
        choices = [
            {"index": index, "delta": {}, "finish_reason": reason} for index in range(self._choices)
        ]
        frames = sse.frame_of(orjson.dumps({**self._head, "choices": choices}))
        if not self._hides_usage:
            usage = {
                "prompt_tokens": used.input_tokens,
                "completion_tokens": used.output_tokens,
                "total_tokens": used.total_tokens,
            }
            frames += sse.frame_of(orjson.dumps({**self._head, "choices": [], "usage": usage}))
        return frames + b"data: [DONE]\n\n"

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return openai_chat.error_frame(error, request_id)

    def seen_text(self) -> str:
        return unescaped(bytes(self._words)) + " " * min(self._beyond, MOST_BEYOND)

    def output_estimate(self) -> int:
        return (len(self._words) + self._beyond) // CHARACTERS_PER_TOKEN

    def _keep(self, words: bytes) -> None:
        if len(self._words) + len(words) <= MOST_WORDS:
            self._words += words
        else:
            self._beyond += len(words)

    def _without_usage(self, frames: bytes) -> bytes:
        """Note the usage; take out what the client did not ask for."""
        if self._hides_usage:
            for null in _NULL_USAGE:
                frames = frames.replace(null, b"")
        if not _REAL_USAGE.search(frames):
            return frames
        return b"".join(frame for frame in sse.split(frames) if self._is_for_the_client(frame))

    def _is_for_the_client(self, frame: bytes) -> bool:
        if not _REAL_USAGE.search(frame):
            return True
        chunk = _parsed(frame)
        usage = read_chunk_usage(chunk)
        if usage is None:
            return True
        self.usage = usage
        return not self._hides_usage or bool(chunk.get("choices"))

    def _note_failure(self, frames: bytes) -> None:
        for frame in sse.split(frames):
            error = _parsed(frame).get("error") if b'"error"' in frame else None
            if error:
                self.failure = error if isinstance(error, dict) else {"message": str(error)}


class OpenAIChat(OpenAIDialect):
    """Chat completions."""

    name = "openai-chat"
    task = operation = "chat"

    def readdress(self, raw: bytes, body: Json, model: str) -> bytes:
        if not body.get("stream"):
            return with_model(raw, body, model)
        options = body.get("stream_options")
        if options is None and "stream_options" not in body:
            inside = with_model(raw, body, model).lstrip()[1:]
            return _ASK_FOR_USAGE + inside
        if mapping(options).get("include_usage") is True:
            return with_model(raw, body, model)
        asking = {**mapping(options), "include_usage": True}
        return orjson.dumps({**body, "model": model, "stream_options": asking})

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("choices"), list)

    def text_in(self, body: Json) -> str:
        messages = [mapping(mapping(choice).get("message")) for choice in body["choices"]]
        return "\n".join(filter(None, map(_said_in, messages)))

    def watch(self, request: Json) -> StreamWatch:
        asked = mapping(request.get("stream_options")).get("include_usage") is True
        return ChatWatch(hides_usage=not asked, choices=self.answers_asked(request))

    def input_text(self, body: Json) -> str:
        words = [text_of(message.get("content")) for message in body["messages"]]
        words += [orjson.dumps(given).decode() for given in _beside_words(body)]
        return "\n".join(words)

    def input_estimate(self, body: Json) -> int:
        characters = images = 0
        for message in body["messages"]:
            content = message.get("content")
            characters += length_of(text_of(content))
            images += images_in(content)
        characters += sum(len(orjson.dumps(given)) for given in _beside_words(body))
        return characters // CHARACTERS_PER_TOKEN + images * TOKENS_PER_IMAGE + 1

    def output_bound(self, body: Json) -> int:
        # Some servers know one of these, and some the other.
        bounds = map(integer, (body.get("max_completion_tokens"), body.get("max_tokens")))
        return max(bounds) * self.answers_asked(body)

    def answers_asked(self, body: Json) -> int:
        return max(integer(body.get("n")), 1)


def _beside_words(body: Json) -> Iterator[Any]:
    """What the model reads beside the words of messages."""
    yield from (message["tool_calls"] for message in body["messages"] if message.get("tool_calls"))
    yield from (body[name] for name in _READ_TOO if body.get(name))


def _parsed(frame: bytes) -> Json:
    """The chunk in a frame; empty for comments and for the end marker. Raises ValueError."""
    data = sse.data_of(frame)
    if not data or data.startswith(b"[DONE]"):
        return {}
    chunk = orjson.loads(data)
    if not isinstance(chunk, dict):
        raise ValueError("A chunk must be an object.")  # noqa: TRY004  # malformed, like bad JSON
    return chunk


def _has_output(chunk: Json) -> bool:
    """Whether a chunk holds more than the role that opens every stream."""
    for choice in items(chunk.get("choices")):
        if mapping(choice).get("finish_reason"):
            return True
        delta = mapping(mapping(choice).get("delta"))
        if any(value for name, value in delta.items() if name != "role"):
            return True
        if mapping(choice).get("text"):
            return True
    return False


def _ends_with_done(frames: bytes) -> bool:
    return any(sse.data_of(frame).startswith(b"[DONE]") for frame in sse.split(frames)[-2:])


def _said_in(message: Mapping[str, Any]) -> str:
    calls = items(message.get("tool_calls"))
    arguments = [str(mapping(mapping(call).get("function")).get("arguments")) for call in calls]
    said = [text_of(message.get("content")), str(message.get("reasoning_content") or "")]
    return "\n".join([*filter(None, said), *arguments])


openai_chat = OpenAIChat()
