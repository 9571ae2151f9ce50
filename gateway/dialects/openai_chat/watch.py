"""A stream of OpenAI's chunks, looked at as it passes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

import orjson

from gateway import sse
from gateway.dialects import seen_words
from gateway.dialects.base import Json, StreamWatch, items, mapping
from gateway.dialects.openai import DONE, MOST_CHOICES, error_frame
from gateway.dialects.openai_chat.upstream_answer import parsed
from gateway.dialects.openai_usage import read_chunk_usage, write_usage
from gateway.dialects.seen_words import SeenWords
from lib.errors import CourierError
from lib.tokens import TokenUsage

#: As servers write it, compact or not. In a string the quotes would be escaped.
_NULL_USAGE = (b',"usage":null', b', "usage": null')
#: Clients that ask for usage get a null in every chunk but one: only that one is parsed.
_REAL_USAGE = re.compile(rb'"usage"\s*:\s*\{')
#: What all chunks of a stream have in common.
_MARKS = ("id", "object", "created", "model", "system_fingerprint")


class ChatWatch(StreamWatch):
    """Looks at one stream of chat completion chunks."""

    __slots__ = ("_choices", "_head", "_hides_usage", "_words")
    #: Where a chunk holds words of the model.
    words: ClassVar[re.Pattern[bytes]] = seen_words.fields(
        b"content", b"reasoning_content", b"reasoning", b"refusal", b"arguments", b"name"
    )

    def __init__(self, *, hides_usage: bool, choices: int) -> None:
        super().__init__()
        self._hides_usage = hides_usage
        self._choices = min(choices, MOST_CHOICES)
        #: The marks that all chunks of the stream have in common.
        self._head: Json = {}
        self._words = SeenWords()

    def see(self, frames: bytes) -> bytes:
        if not self.has_output:
            # Not a chunk further than needed: a burst may bring the whole answer at once.
            self._look_for_output(map(_parsed, sse.split(frames)))
        self._words.keep(b"".join(self.words.findall(frames)))
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
            if not self._head and chunk.get("choices"):
                self._head = {name: chunk[name] for name in _MARKS if name in chunk}
            if _has_output(chunk):
                self.has_output = True
                return

    def ending(self, reason: str, used: TokenUsage) -> bytes:
        choices = [self.ended(index, reason) for index in range(self._choices)]
        frames = sse.frame_of(orjson.dumps({**self._head, "choices": choices}))
        if not self._hides_usage:
            told = {**self._head, "choices": [], "usage": write_usage(used)}
            frames += sse.frame_of(orjson.dumps(told))
        return frames + DONE

    def ended(self, index: int, reason: str) -> Json:
        """The last that is said of a choice."""
        return {"index": index, "delta": {}, "finish_reason": reason}

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return error_frame(error, request_id)

    def seen_text(self) -> str:
        return self._words.text()

    def output_estimate(self) -> int:
        return self._words.token_estimate()

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


def _parsed(frame: bytes) -> Json:
    """The chunk in a frame; empty for comments and for the end marker. Raises ValueError."""
    data = sse.data_of(frame)
    if not data or data.startswith(b"[DONE]"):
        return {}
    return parsed(data)


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
