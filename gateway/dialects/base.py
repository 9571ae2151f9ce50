"""What a wire format must know about itself. Stateless, pure, two halves.

The client half serves people who speak the format; the upstream half is for vendors that
do. Where both ends speak the same format, bytes pass through: a dialect changes only the
model's name and the request for usage, and only looks at the rest. Where they do not, a
request is read into `gateway.canonical` by the one and written from it by the other, and
the answer comes back as events.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from gateway import counting
from gateway.canonical import Event, Json
from gateway.dialects.drops import AS_IN_CHAT, Drops
from gateway.dialects.json_values import integer, items, mapping
from gateway.errors import BadRequest
from gateway.sse import Framer
from lib import tokenizer
from lib.errors import CourierError
from lib.tokens import TokenUsage
from registry.capabilities import Capabilities

__all__ = [
    "Batched",
    "BodyDialect",
    "BodyWatch",
    "ClientDialect",
    "ClientHalf",
    "Destination",
    "Dialect",
    "Drops",
    "Framing",
    "Json",
    "PassThroughDialect",
    "StreamReader",
    "StreamWatch",
    "StreamWriter",
    "UpstreamDialect",
    "UpstreamHalf",
    "integer",
    "items",
    "mapping",
]

#: What a task asks: ChatRequest, EmbeddingsRequest, …
R = TypeVar("R")


class Destination(Protocol):
    """What a format needs to know of the target that it writes to."""

    @property
    def upstream_model(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...


class Framing(Protocol):
    """Cuts what the network gives into whole frames: server-sent events, whatever came in."""

    def feed(self, chunk: bytes) -> bytes:
        """The whole frames so far; empty if there is none yet. Raises ValueError."""

    def last(self) -> bytes:
        """The connection has ended: the frame that ended with it, if that makes one."""


class StreamWatch(ABC):
    """Looks at one stream as it passes. Holds that stream's state."""

    __slots__ = ("failure", "has_output", "is_complete", "knows_output", "usage")

    def __init__(self) -> None:
        #: Whether the client would see something of the model's own in what has passed.
        self.has_output = False
        #: Whether the stream has said that it is complete.
        self.is_complete = False
        #: What the upstream reported, so far.
        self.usage: TokenUsage | None = None
        #: Whether `usage` holds the output too. Some tell the input when they begin, and the
        #: output only at the end, which a stream that is cut never reaches.
        self.knows_output = True
        #: The error that the upstream reported inside the stream, in its own words.
        self.failure: Json | None = None

    @abstractmethod
    def see(self, frames: bytes) -> bytes:
        """What of these whole frames is for the client. Raises ValueError if one is malformed."""

    def close(self) -> bytes:
        """The upstream has closed the stream. What that says to the client.

        Formats without an end marker set `is_complete` here if nothing is missing.
        """
        return b""

    @abstractmethod
    def ending(self, reason: str, used: TokenUsage) -> bytes:
        """Frames that end the stream cleanly, for `reason`, where its provider has not."""

    @abstractmethod
    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        """Frames that tell of an error in the middle of the stream."""

    @abstractmethod
    def seen_text(self) -> str:
        """The model's own words so far, for counting where the upstream reports no usage."""

    @abstractmethod
    def output_estimate(self) -> int:
        """A cheap guess at the output tokens so far."""


class BodyWatch(ABC):
    """Looks at one answer as it passes that is neither held as a whole nor cut into frames."""

    #: Bytes that are held back: an answer that ends within them may still be another target's.
    undecided: ClassVar[int] = 1

    def __init__(self) -> None:
        #: What the upstream reported, once the answer is whole.
        self.usage: TokenUsage | None = None
        #: The error that the upstream reported instead of an answer, in its own words.
        self.failure: Json | None = None

    @abstractmethod
    def see(self, piece: bytes) -> None:
        """A piece passes."""

    @abstractmethod
    def close(self) -> None:
        """The upstream has sent all of it. Raises ValueError if something is missing."""

    def seen_text(self) -> str:
        """The model's own words so far, for counting where the upstream reports no usage."""
        return ""


class StreamReader(ABC):
    """Reads one upstream stream. Holds that stream's state."""

    @abstractmethod
    def read(self, frames: bytes) -> Iterable[Event]:
        """The events in these whole frames. Raises ValueError if one is malformed.

        `Ended` is among them as soon as the upstream has said that its answer is complete.
        """

    def close(self) -> Iterable[Event]:
        """The upstream has closed the stream: `Ended`, if nothing is missing without a marker."""
        return ()


class StreamWriter(ABC):
    """Writes one client stream. Holds that stream's state."""

    @abstractmethod
    def write(self, event: Event) -> bytes:
        """The frames that tell of `event`; empty if there is nothing to tell yet."""

    @abstractmethod
    def close(self) -> bytes:
        """The frames that end the stream: the reason to stop, the usage, the end marker."""

    @abstractmethod
    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        """Frames that tell of an error in the middle of the stream."""


class Dialect(ABC):
    """One wire format. One instance serves every request."""

    name: ClassVar[str]
    #: What is asked for: formats of one task are translated into each other.
    task: ClassVar[str]


class UpstreamDialect(Dialect):
    """The half for vendors that speak the format."""

    #: How the media type of a stream begins.
    stream_type: str = "text/event-stream"

    @abstractmethod
    def is_answer(self, body: Any) -> bool:
        """Whether a parsed body with status 200 is an answer in this format."""

    def failure_in(self, body: Any) -> Json | None:
        """The error that a parsed body with status 200 reports after all, if it does."""
        failure = mapping(body).get("error")
        if not failure:
            return None
        return failure if isinstance(failure, dict) else {"message": str(failure)}

    def framing(self) -> Framing:
        """What cuts one stream into frames."""
        return Framer()


class UpstreamHalf(UpstreamDialect, Generic[R]):
    """An upstream's format that other formats are translated into."""

    @abstractmethod
    def write_request(self, request: R, to: Destination, drops: Drops) -> Json:
        """The body to send. What it has no place for is noted in `drops`, never lost silently."""

    @abstractmethod
    def read_response(self, body: Json) -> list[Event]:
        """The events in a whole answer. Raises ValueError if it cannot be read."""

    def stream_reader(self) -> StreamReader:
        """A reader of one stream."""
        raise TypeError(f"{self.name} is never streamed.")


class ClientDialect(Dialect):
    """The half that serves clients who speak the format."""

    #: What a key must be allowed to call; OpenTelemetry's gen_ai.operation.name where it has one.
    operation: ClassVar[str]
    #: Headers of the client's that are passed on to vendors that speak the format too.
    passed_headers: ClassVar[tuple[bytes, ...]] = ()
    #: What breaks a silence without meaning anything.
    keep_alive: ClassVar[bytes] = b": keep-alive\n\n"

    def remark(self, text: str) -> bytes:
        """A comment for people in a stream, if the clients of the format can bear one."""
        return f": {text}\n\n".encode()

    @abstractmethod
    def write_error(self, error: CourierError, request_id: str) -> bytes:
        """The body of an error answer."""

    @abstractmethod
    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        """An error inside a stream that has begun, but not with anything of the model's."""

    def content_for(self, request: Json, content: bytes, body: Json) -> bytes:
        """The whole answer as this client asked for it; `body` is `content`, parsed."""
        return content

    @abstractmethod
    def input_text(self, body: Json) -> str:
        """The words of a request, for counting where the upstream reports no usage."""

    @abstractmethod
    def input_estimate(self, body: Json) -> int:
        """A cheap guess at the tokens of a request's input, for holding before the call."""

    @abstractmethod
    def output_bound(self, body: Json) -> int:
        """The most output tokens that the request allows; 0 where it does not say."""

    def state_asked(self, body: Json) -> str:
        """The field that only a provider that keeps answers or files can serve; empty if none."""
        return ""

    def answers_asked(self, body: Json) -> int:
        """How many answers that have output tokens the request asks for at once."""
        return 1

    def searches_asked(self, body: Json) -> int:
        """Search units that the request takes, for where its provider does not say."""
        return 0

    def usual_output(self, body: Json, each: int) -> int:
        """Output tokens to hold where the request names no bound; `each` is for a usual answer."""
        return each * self.answers_asked(body)

    def images_asked(self, body: Json) -> int:
        """How many images the request asks for, each of which may have a price."""
        return 0

    def tokens_asked(self, body: Json, model: str) -> int:
        """Tokens of a request's input, counted as `model` would."""
        return tokenizer.count(self.input_text(body), model)

    def counted(self, body: Json, said: str, model: str) -> TokenUsage:
        """What an answer used whose provider reports nothing, from what was asked and said.

        `model` is the upstream model, whose vocabulary is used.
        """
        return TokenUsage(
            input_tokens=self.tokens_asked(body, model),
            output_tokens=tokenizer.count(said, model),
            search_units=self.searches_asked(body),
        )


class Batched(ClientDialect):
    """A format whose requests hold many inputs, each answered by itself.

    One that holds more than a target takes at once becomes several calls.
    """

    @abstractmethod
    def inputs_asked(self, body: Json) -> int:
        """How many inputs a request holds."""

    @abstractmethod
    def part(self, body: Json, start: int, stop: int) -> Json:
        """The request for its inputs from `start` up to `stop` alone."""

    @abstractmethod
    def joined(self, body: Json, answers: Sequence[tuple[int, Json]]) -> Json:
        """One answer of those to its parts, each with the place of its first input.

        Raises ValueError where they do not fit the request.
        """


class ClientHalf(ClientDialect, Generic[R]):
    """A client's format that is translated into others."""

    #: What it calls the fields of chat completions, where it has other names for them.
    field_names: ClassVar[Mapping[str, str]] = AS_IN_CHAT

    @abstractmethod
    def read_request(self, body: Json) -> R:
        """What is asked. Raises BadRequest, naming the field that cannot be understood."""

    @abstractmethod
    def write_response(self, events: Sequence[Event], request: Json) -> Json:
        """The whole answer to `request`, the client's own body."""

    def tokens_asked(self, body: Json, model: str) -> int:
        """With the images, tools and marks that the hub knows of."""
        try:
            asked = self.read_request(body)
        except BadRequest:
            asked = None  # its provider understood it, where Courier does not
        if isinstance(asked, counting.Countable):
            return counting.count(asked, model)
        return super().tokens_asked(body, model)

    def stream_writer(self, request: Json) -> StreamWriter:
        """A writer of the stream that answers `request`, the client's own body."""
        raise TypeError(f"{self.name} is never streamed.")


class PassThroughDialect(ClientDialect, UpstreamDialect):
    """A format that Courier speaks on both sides, and then leaves as it is."""

    @abstractmethod
    def readdress(self, raw: bytes, body: Json, model: str) -> bytes:
        """The client's own body, sent to `model` and asked to report its usage.

        `body` is `raw`, parsed. Everything but those two fields keeps its very bytes.
        """

    @abstractmethod
    def usage_in(self, body: Json) -> TokenUsage | None:
        """The usage that a whole answer reports, if it reports any."""

    @abstractmethod
    def text_in(self, body: Json) -> str:
        """The model's own words in a whole answer, for counting."""

    @abstractmethod
    def watch(self, request: Json) -> StreamWatch:
        """A watch over the stream that answers `request`."""


class BodyDialect(PassThroughDialect):
    """A format whose answers are passed on as they come, for they are large or no text."""

    #: What the media type of an answer begins with.
    answer_types: ClassVar[tuple[str, ...]]

    @abstractmethod
    def body_watch(self, media_type: str) -> BodyWatch:
        """A watch over an answer of this type."""
