"""What a wire format must know about itself. Stateless, pure, two halves.

The client half serves people who speak the format; the upstream half looks at what
vendors that speak it send. Where both ends speak the same format, bytes pass through:
a dialect changes only the model's name and the request for usage, and only looks at the
rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lib.errors import CourierError
from lib.tokens import TokenUsage

Json = dict[str, Any]


class StreamWatch(ABC):
    """Looks at one stream as it passes. Holds that stream's state."""

    __slots__ = ("failure", "has_output", "is_complete", "usage")

    def __init__(self) -> None:
        #: Whether the client would see something of the model's own in what has passed.
        self.has_output = False
        #: Whether the stream has said that it is complete.
        self.is_complete = False
        #: What the upstream reported, so far.
        self.usage: TokenUsage | None = None
        #: The error that the upstream reported inside the stream, in its own words.
        self.failure: Json | None = None

    @abstractmethod
    def see(self, frames: bytes) -> bytes:
        """What of these whole frames is for the client. Raises ValueError if one is malformed."""

    @abstractmethod
    def ending(self, reason: str, used: TokenUsage) -> bytes:
        """Frames that end the stream cleanly, for `reason`, where its provider has not."""

    @abstractmethod
    def seen_text(self) -> str:
        """The model's own words so far, for counting where the upstream reports no usage."""

    @abstractmethod
    def output_estimate(self) -> int:
        """A cheap guess at the output tokens so far."""


class Dialect(ABC):
    """One wire format. One instance serves every request."""

    name: ClassVar[str]
    #: OpenTelemetry's gen_ai.operation.name
    operation: ClassVar[str]


class UpstreamDialect(Dialect):
    @abstractmethod
    def readdress(self, raw: bytes, body: Json, model: str) -> bytes:
        """The client's own body, sent to `model` and asked to report its usage.

        `body` is `raw`, parsed. Everything but those two fields keeps its very bytes.
        """

    @abstractmethod
    def usage_in(self, body: Json) -> TokenUsage | None:
        """The usage that a whole answer reports, if it reports any."""

    @abstractmethod
    def is_answer(self, body: Any) -> bool:
        """Whether a parsed body with status 200 is an answer in this format."""

    @abstractmethod
    def text_in(self, body: Json) -> str:
        """The model's own words in a whole answer, for counting."""

    @abstractmethod
    def watch(self, request: Json) -> StreamWatch:
        """A watch over the stream that answers `request`."""


class ClientDialect(Dialect):
    @abstractmethod
    def write_error(self, error: CourierError, request_id: str) -> bytes:
        """The body of an error answer."""

    @abstractmethod
    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        """An error inside a stream that has already begun."""

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

    def answers_asked(self, body: Json) -> int:
        """How many answers that have output tokens the request asks for at once."""
        return 1


class PassThroughDialect(ClientDialect, UpstreamDialect):
    """A format that Courier speaks on both sides."""


def integer(value: Any) -> int:
    """A token count from somebody else's JSON: whole, not negative, and within bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(min(max(value, 0), 10**12)) if value == value else 0


def items(value: Any) -> Sequence[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else ()


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}
