"""Between a client's format and a target's: puts the question, and brings the answer back.

Where both speak the same format the words stay what they are; where not, they go through
the canonical events. Which of the two it is, is decided here and nowhere else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from gateway import canonical, errors, fitting
from gateway.canonical import ChatRequest, Event
from gateway.dialects import signatures
from gateway.dialects.base import (
    ClientHalf,
    Drops,
    Json,
    PassThroughDialect,
    StreamReader,
    StreamWatch,
    StreamWriter,
    UpstreamDialect,
    UpstreamHalf,
)
from gateway.dialects.seen_words import ReadWords
from gateway.kinds import provider_of
from gateway.providers.base import Message
from gateway.question import Question
from gateway.upload import Upload
from lib.errors import CourierError
from lib.tokens import TokenUsage
from registry.snapshot import Target


class Interpreter(ABC):
    """One question at one target."""

    def __init__(self, question: Question, target: Target, dialect: UpstreamDialect) -> None:
        self.question = question
        self.target = target
        #: What the target speaks.
        self.dialect = dialect
        self.drops = Drops(refuses=target.refuses_unsupported)

    @abstractmethod
    def message(self) -> Message:
        """What to send. Raises BadRequest or UnsupportedParameter if the target cannot have it."""

    @abstractmethod
    def watch(self) -> StreamWatch:
        """A watch over the stream that answers."""

    @abstractmethod
    def usage_in(self, body: Json) -> TokenUsage | None:
        """The usage that the whole answer reports, if it reports any."""

    @abstractmethod
    def text_in(self, body: Json) -> str:
        """The model's own words in the whole answer, for counting."""

    @abstractmethod
    def content_for(self, content: bytes, body: Json) -> bytes:
        """The whole answer for the client; `body` is `content`, parsed."""


class Verbatim(Interpreter):
    """Both sides speak the same format."""

    dialect: PassThroughDialect

    def message(self) -> Message:
        question, target = self.question, self.target
        raw, body = question.raw, signatures.cleared(question.raw, question.body, self.drops)
        if body is not question.body:
            raw = orjson.dumps(body)
        raw = self.dialect.readdress(raw, body, target.upstream_model)
        quirks = provider_of(target.kind).quirks
        if quirks:
            body = orjson.loads(raw)
            for quirk in quirks:
                quirk(body, self.drops)
            raw = orjson.dumps(body)
        return Message(self.dialect, raw, question.wants_stream, question.told)

    def watch(self) -> StreamWatch:
        return self.dialect.watch(self.question.body)

    def usage_in(self, body: Json) -> TokenUsage | None:
        return self.dialect.usage_in(body)

    def text_in(self, body: Json) -> str:
        return self.dialect.text_in(body)

    def content_for(self, content: bytes, body: Json) -> bytes:
        return self.dialect.content_for(self.question.body, content, body)


class Forwarded(Verbatim):
    """The same, of a form: it is not read but for its fields, and sent while it comes."""

    def __init__(
        self, question: Question, target: Target, dialect: PassThroughDialect, upload: Upload
    ) -> None:
        super().__init__(question, target, dialect)
        self._upload = upload

    def message(self) -> Message:
        form = self._upload.to(self.target.upstream_model)
        streams = self.question.wants_stream
        return Message(self.dialect, form, streams, content_type=form.content_type)


class Translated(Interpreter):
    """Each side speaks a format of its own."""

    dialect: UpstreamHalf[Any]

    def __init__(
        self,
        question: Question,
        target: Target,
        client: ClientHalf[Any],
        dialect: UpstreamHalf[Any],
    ) -> None:
        super().__init__(question, target, dialect)
        self._client = client
        self.drops = Drops(refuses=target.refuses_unsupported, called=client.field_names)
        #: Of a whole answer, once it has been read.
        self._read: Sequence[Event] | None = None

    def message(self) -> Message:
        request = self._client.read_request(self.question.body)
        for name in request.unknown:
            self.drops.note_own(name)
        if isinstance(request, ChatRequest):
            # In some formats the path says so, not the body.
            request.stream = self.question.wants_stream
            fitting.spare(request, self.target.capabilities, self.drops)
        body = self.dialect.write_request(request, self.target, self.drops)
        provider = provider_of(self.target.kind)
        for quirk in (*provider.translated_quirks, *provider.quirks):
            quirk(body, self.drops)
        return Message(self.dialect, orjson.dumps(body), self.question.wants_stream)

    def watch(self) -> StreamWatch:
        writer = self._client.stream_writer(self.question.body)
        return TranslatingWatch(self.dialect.stream_reader(), writer, self.target.upstream_model)

    def usage_in(self, body: Json) -> TokenUsage | None:
        told = [e.usage for e in self._events(body) if isinstance(e, canonical.UsageReported)]
        return told[-1] if told else None

    def text_in(self, body: Json) -> str:
        return "".join(map(words_of, self._events(body)))

    def content_for(self, content: bytes, body: Json) -> bytes:
        return orjson.dumps(self._client.write_response(self._events(body), self.question.body))

    def _events(self, body: Json) -> Sequence[Event]:
        if self._read is None:
            self._read = self.dialect.read_response(body)
            for event in self._read:
                if isinstance(event, canonical.Started):
                    event.model = event.model or self.target.upstream_model
        return self._read


class TranslatingWatch(StreamWatch):
    """Reads the target's stream, and writes the client's.

    `model` is what the target was asked for: not every vendor names it in its answer.
    """

    __slots__ = ("_begun", "_finished", "_model", "_reader", "_words", "_writer")

    def __init__(self, reader: StreamReader, writer: StreamWriter, model: str) -> None:
        super().__init__()
        self._model = model
        self._reader = reader
        self._writer = writer
        #: The answers that have begun, and those that have come to their end.
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self._words = ReadWords()

    def see(self, frames: bytes) -> bytes:
        return self._written(self._reader.read(frames))

    def close(self) -> bytes:
        return self._written(self._reader.close())

    def _written(self, events: Iterable[Event]) -> bytes:
        written = []
        for event in events:
            if isinstance(event, canonical.Ended):
                self.is_complete = True
                written.append(self._writer.close())
                break
            if isinstance(event, canonical.Failed):
                self.failure = event.error
                break
            if isinstance(event, canonical.UsageReported):
                self.usage, self.knows_output = event.usage, not event.before_output
            elif isinstance(event, canonical.OUTPUT):
                self.has_output = True
                ended = isinstance(event, canonical.Finished)
                (self._finished if ended else self._begun).add(event.choice)
                self._words.keep(words_of(event))
            elif isinstance(event, canonical.Started):
                event.model = event.model or self._model
            written.append(self._writer.write(event))
        return b"".join(written)

    def ending(self, reason: str, used: TokenUsage) -> bytes:
        open_ones = sorted((self._begun or {0}) - self._finished)
        ends = [self._writer.write(canonical.Finished(reason, choice=one)) for one in open_ones]
        counted = self._writer.write(canonical.UsageReported(used))
        return b"".join([*ends, counted, self._writer.close()])

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return self._writer.error_frame(error, request_id)

    def seen_text(self) -> str:
        return self._words.text()

    def output_estimate(self) -> int:
        return self._words.token_estimate()


def words_of(event: Event) -> str:
    """What of an event is the model's own words."""
    match event:
        case (
            canonical.TextDelta(text=words)
            | canonical.ThinkingDelta(text=words)
            | canonical.RefusalDelta(text=words)
            | canonical.ToolCallStarted(name=words)
            | canonical.ToolCallDelta(arguments=words)
        ):
            return words
        case _:
            return ""


def able(question: Question, targets: Sequence[Target]) -> Sequence[Target]:
    """The targets that keep what the question refers to. Raises UnsupportedParameter if none."""
    client = question.dialect
    field = client.state_asked(question.body)
    if not field or not targets:
        return targets
    keeping = [each for each in targets if provider_of(each.kind).keeps_state(client, each)]
    if not keeping:
        raise errors.UnsupportedParameter(
            f"{field!r} needs a provider that keeps responses and files, and Courier keeps none. "
            "Send the whole conversation as 'input', with 'store': false.",
            param=field,
        )
    return keeping


def interpreter(question: Question, target: Target) -> Interpreter:
    """How to put `question` to `target`. Raises NoAvailableTarget if that cannot be.

    What a target must not be sent can be taken out only of what is read: then even a format
    that both speak is translated, into itself.
    """
    client = question.dialect
    dialect = provider_of(target.kind).dialect_for(client, target)
    misses = fitting.missed_by(question, target)
    if isinstance(dialect, PassThroughDialect) and dialect is client and not misses:
        if question.upload is not None:
            return Forwarded(question, target, dialect, question.upload)
        return Verbatim(question, target, dialect)
    if isinstance(dialect, UpstreamHalf) and isinstance(client, ClientHalf):
        return Translated(question, target, client, dialect)
    raise errors.NoAvailableTarget(
        f"Provider {target.provider_name!r} does not offer this operation."
    )
