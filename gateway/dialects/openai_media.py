"""What OpenAI's formats for images and sound share: usage, and how their answers are watched."""

from __future__ import annotations

from typing import Any

from gateway import sse
from gateway.dialects.base import (
    BodyDialect,
    BodyWatch,
    Framing,
    Json,
    StreamWatch,
    integer,
    mapping,
)
from gateway.dialects.openai import CHARACTERS_PER_TOKEN, OpenAIDialect, length_of
from gateway.dialects.openai_usage import read_usage
from gateway.dialects.skeleton import LONGEST_STRING, Skeleton
from gateway.sse import FrameTooLong
from lib.errors import CourierError
from lib.json_reading import loads
from lib.tokens import TokenUsage, total_of

#: An event that holds an image is one line of megabytes. More than this is refused.
LONGEST_EVENT = 32 * 1024 * 1024
#: Words kept for counting, per answer, in characters. What lies beyond is not counted.
MOST_WORDS = 512 * 1024
_LAST_EVENTS = (".completed", ".done")


class OpenAIMedia(OpenAIDialect, BodyDialect):
    """Images and sound. One format for each operation, passed through."""

    def input_estimate(self, body: Json) -> int:
        return length_of(self.input_text(body)) // CHARACTERS_PER_TOKEN + 1

    def output_bound(self, body: Json) -> int:
        return 0

    def usage_in(self, body: Json) -> TokenUsage | None:
        return media_usage(body.get("usage"))

    def usage_in_event(self, event: Json) -> TokenUsage | None:
        """The usage that an event of a stream reports, if it reports any."""
        return self.usage_in(event)

    def text_in_event(self, event: Json) -> str:
        """The model's own words in an event of a stream."""
        return ""

    def ending(self, said: str, used: TokenUsage) -> bytes:
        """Frames that end a stream cleanly where its provider has not."""
        return b""

    def framing(self) -> Framing:
        return EventFramer()

    def watch(self, request: Json) -> StreamWatch:
        return EventWatch(self, max(self.images_asked(request), 1))


def media_usage(usage: Any) -> TokenUsage | None:
    """The usage of an answer, if `usage` is one. Tokens of images have no class of their own."""
    told = mapping(usage)
    if "input_tokens" not in told:
        return read_usage(usage)
    given = integer(told["input_tokens"])
    details = mapping(told.get("input_tokens_details") or told.get("input_token_details"))
    cached = min(integer(details.get("cached_tokens")), given)
    return TokenUsage(
        input_tokens=given,
        cached_input_tokens=cached,
        output_tokens=integer(told.get("output_tokens")),
        audio_input_tokens=min(integer(details.get("audio_tokens")), given - cached),
    )


class JsonWatch(BodyWatch):
    """Looks at an answer that is one JSON object, without its long strings."""

    #: Errors with status 200 are smaller than that, and so are most answers.
    undecided = 64 * 1024

    def __init__(self, dialect: OpenAIMedia) -> None:
        super().__init__()
        self._dialect = dialect
        self._skeleton = Skeleton()
        self._said = ""

    def see(self, piece: bytes) -> None:
        self._skeleton.feed(piece)

    def close(self) -> None:
        body = self._skeleton.parsed()
        self.failure = self._dialect.failure_in(body)
        if self.failure is not None:
            return
        if not self._dialect.is_answer(body):
            raise ValueError("This is no answer.")
        self.usage = self._dialect.usage_in(body)
        self._said = self._dialect.text_in(body)

    def seen_text(self) -> str:
        return self._said


class EventFramer:
    """Cuts a stream at the end of its last whole event, each of which may be megabytes long.

    Unlike `sse.Framer` it looks at every byte once. Lines end in LF or CRLF.
    """

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def rest(self) -> bytes:
        return bytes(self._data)

    def feed(self, chunk: bytes) -> bytes:
        """The whole events so far; empty if there is none yet."""
        data = self._data
        searched = max(len(data) - 3, 0)
        data += chunk
        end = max(_after(b"\n\n", data, searched), _after(b"\r\n\r\n", data, searched))
        whole = bytes(data[:end])
        del data[:end]
        if len(data) > LONGEST_EVENT:
            raise FrameTooLong
        return whole

    def last(self) -> bytes:
        """The end marker, if the connection ended instead of its blank line."""
        return sse.end_marker(self.rest)


def _after(mark: bytes, data: bytearray, start: int) -> int:
    """Where the last `mark` at or behind `start` ends; 0 if there is none."""
    found = data.rfind(mark, start)
    return found + len(mark) if found >= 0 else 0


class EventWatch(StreamWatch):
    """Looks at one stream of events that are typed inside.

    Such a stream has no end marker: it is complete with the last of the results asked for.
    Of one that closes earlier, the last result is held back until it does.
    """

    __slots__ = ("_dialect", "_held", "_length", "_missing", "_results", "_words")

    def __init__(self, dialect: OpenAIMedia, results: int) -> None:
        super().__init__()
        self._dialect = dialect
        #: Results that are still to come.
        self._missing = results
        self._results = 0
        self._held = b""
        self._words: list[str] = []
        self._length = 0

    def see(self, frames: bytes) -> bytes:
        before = self._results
        for frame in sse.split(frames):
            self._look_at(frame)
        frames, self._held = self._held + frames, b""
        if self._results == before or self.is_complete:
            return frames
        self._held = frames
        return b""

    def _look_at(self, frame: bytes) -> None:
        data = sse.data_of(frame)
        if data.startswith(b"[DONE]"):
            self.is_complete = True
        elif data:
            self._note(_parsed(data))

    def _note(self, event: Json) -> None:
        kind = str(event.get("type"))
        if event.get("error") or kind == "error":
            self.failure = dict(mapping(event.get("error"))) or event
            return
        self.has_output = True
        self._add(self._dialect.usage_in_event(event))
        self._keep(self._dialect.text_in_event(event))
        if kind.endswith(_LAST_EVENTS):
            self._results += 1
            self.is_complete = self._results >= self._missing

    def _add(self, usage: TokenUsage | None) -> None:
        """Each result reports what it took itself."""
        if usage is not None:
            self.usage = total_of((self.usage or TokenUsage(), usage))

    def _keep(self, words: str) -> None:
        kept = words[: MOST_WORDS - self._length]
        self._words.append(kept)
        self._length += len(kept)

    def close(self) -> bytes:
        self.is_complete = self.is_complete or self._results > 0
        return self._held

    def ending(self, reason: str, used: TokenUsage) -> bytes:
        return self._dialect.ending(self.seen_text(), used)

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return self._held + self._dialect.error_frame(error, request_id)

    def seen_text(self) -> str:
        return "".join(self._words)

    def output_estimate(self) -> int:
        return self._length // CHARACTERS_PER_TOKEN


def _parsed(data: bytes) -> Json:
    """An event's data; without its long strings if it is long. Raises ValueError."""
    if len(data) > LONGEST_STRING:
        skeleton = Skeleton()
        skeleton.feed(data)
        event = skeleton.parsed()
    else:
        event = loads(data)
    if not isinstance(event, dict):
        raise ValueError("An event must be an object.")  # noqa: TRY004  # malformed, like bad JSON
    return event
