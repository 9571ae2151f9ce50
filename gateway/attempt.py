"""One attempt at one target: ask, and hold back until the first output."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from gateway import errors, metering, sse, upstream
from gateway.dialects.base import BodyDialect, BodyWatch, Framing, StreamWatch
from gateway.interpreter import Interpreter, interpreter
from gateway.keys import keys
from gateway.kinds import provider_of
from gateway.providers.base import UpstreamRequest
from gateway.question import Question
from gateway.upload import Upload
from gateway.upstream import Answer
from lib.json_reading import loads
from lib.tokens import TokenUsage
from registry.snapshot import Target

#: What may be held back before the first output, in bytes.
MOST_HELD = 1024 * 1024
#: A burst that is larger is looked at frame by frame until the first output, for what has been
#: looked at is charged: no hold covers less than so many bytes of words.
MOST_AT_ONCE = 16 * 1024
#: How much of a refusal is read, in bytes.
MOST_OF_A_REFUSAL = 64 * 1024
#: How long its body may take, in seconds: its status has said enough to go on.
REFUSAL_S = 2.0
#: A content type that can be passed on as it is.
_PLAIN_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w-]+=\"?[\w.+-]+\"?)*", re.ASCII)


@dataclass(slots=True)
class WholeAnswer:
    """An answer that was read to its end."""

    target: Target
    #: For the client, in its own format.
    content: bytes = field(repr=False)
    usage: TokenUsage | None
    #: The model's own words, where its provider reported no usage.
    said: str = field(repr=False)
    #: Parameters that the target could not be given.
    dropped: Sequence[str] = ()


@dataclass(slots=True)
class OpenStream:
    """A stream whose first output has come. Nothing of it has reached the client yet."""

    target: Target
    watch: StreamWatch
    #: What is for the client of what came until now.
    held: bytes = field(repr=False)
    rest: WholeFrames = field(repr=False)
    answer: Answer
    #: A time of the event loop's clock.
    started_at: float
    #: Parameters that the target could not be given.
    dropped: Sequence[str] = ()

    async def close(self) -> None:
        await self.answer.close()


@dataclass(slots=True)
class OpenBody:
    """An answer that has begun well. Nothing of it has reached the client yet."""

    target: Target
    watch: BodyWatch
    content_type: str
    answer: Answer
    #: When its head came: a time of the event loop's clock.
    started_at: float
    #: Parameters that the target could not be given.
    dropped: Sequence[str] = ()
    #: What has come until now.
    held: bytes = field(default=b"", repr=False)
    #: Whether that is all of it.
    is_whole: bool = False

    async def close(self) -> None:
        await self.answer.close()


async def whole_answer(question: Question, target: Target, limit_s: float) -> WholeAnswer:
    """The target's whole answer. A connection that breaks halfway is a failed attempt."""
    started_at = asyncio.get_running_loop().time()
    between = interpreter(question, target)
    try:
        async with asyncio.timeout(limit_s) as time_left:
            answer = await _ask(between, target, Patience(time_left, limit_s))
            try:
                time_left.reschedule(started_at + target.total_timeout_s)
                content = await answer.read(settings.COURIER_MAX_ANSWER)
            finally:
                await answer.close()
    except TimeoutError as error:
        raise _too_slow(target) from error
    return _read(between, content, target)


async def open_stream(question: Question, target: Target, limit_s: float) -> OpenStream:
    """The target's stream, as soon as it holds output of the model's own.

    Formats open with chunks that say nothing (a role, a lifecycle event), and quotas fail
    after those: so they are held back, and until then another target may still answer.
    """
    started_at = asyncio.get_running_loop().time()
    between = interpreter(question, target)
    try:
        async with asyncio.timeout(limit_s) as time_left:
            answer = await _ask(between, target, Patience(time_left, limit_s))
            try:
                return await _begun_stream(between, answer, started_at)
            except BaseException:
                await answer.close()
                raise
    except TimeoutError as error:
        raise _too_slow(target) from error


async def open_body(question: Question, target: Target, limit_s: float) -> OpenBody | OpenStream:
    """The target's answer, as soon as there is enough of it to believe in it.

    It is a stream where a form asked for one behind its file, which was known to the provider
    before it was known here.
    """
    now = asyncio.get_running_loop().time
    between = interpreter(question, target)
    try:
        async with asyncio.timeout(limit_s) as time_left:
            answer = await _ask(between, target, Patience(time_left, limit_s))
            try:
                time_left.reschedule(now() + target.total_timeout_s)
                if question.asks_late_for_stream:
                    return await _begun_stream(between, answer, now())
                content_type, watch = _watched(between, answer, target)
                body = OpenBody(target, watch, content_type, answer, now(), between.drops.names)
                await _hold_until_sure(body)
            except BaseException:
                await answer.close()
                raise
    except TimeoutError as error:
        raise _too_slow(target) from error
    if body.is_whole:
        await answer.close()
    return body


class WholeFrames:
    """An answer's stream, in runs of whole frames. What ends in the middle of one is dropped."""

    __slots__ = ("_answer", "_framer", "_later", "_target", "has_begun")

    def __init__(self, answer: Answer, target: Target, framer: Framing) -> None:
        self._answer = answer
        self._target = target
        self._framer = framer
        self._later = b""
        #: Whether the first output has come. Until then no run is large.
        self.has_begun = False

    def __aiter__(self) -> WholeFrames:
        return self

    async def __anext__(self) -> bytes:
        frames, self._later = self._later or await self._next_run(), b""
        if not self.has_begun and len(frames) > MOST_AT_ONCE:
            first = sse.split(frames)[0]
            frames, self._later = first, frames[len(first) :]
        return frames

    async def _next_run(self) -> bytes:
        try:
            while True:
                frames = self._framer.feed(await self._answer.__anext__())
                if frames:
                    return frames
        except ValueError as error:
            raise _malformed(self._target) from error
        except StopAsyncIteration:
            last = self._framer.last()
            if not last:
                raise
            return last


class Patience:
    """How long an attempt may take until its first byte, the time for an upload not counted."""

    def __init__(self, time_left: asyncio.Timeout, limit_s: float) -> None:
        self._time_left = time_left
        self._limit_s = limit_s

    def begin_anew(self, waits_for_client: bool) -> None:  # noqa: FBT001  # a state, not a flag
        """Something of the upload has moved, or the client is waited for."""
        if self._time_left.expired():
            return
        now = asyncio.get_running_loop().time()
        self._time_left.reschedule(None if waits_for_client else now + self._limit_s)


async def _ask(between: Interpreter, target: Target, patience: Patience) -> Answer:
    request = provider_of(target.kind).request(target, between.message())
    upload = between.question.upload
    if upload is None:
        answer = await upstream.send(request, target)
    else:
        answer = await _send_form(request, target, upload, patience)
    keys.learned(target, answer.headers)
    if 200 <= answer.status < 300:
        return answer
    raise await _refusal(answer, target)


async def _send_form(
    request: UpstreamRequest, target: Target, upload: Upload, patience: Patience
) -> Answer:
    upload.on_move = patience.begin_anew
    try:
        return await upstream.send(request, target)
    except errors.UpstreamError as error:
        if upload.fault is not None:
            # The provider was left because the client had sent nonsense, or nothing more.
            raise upload.fault from error
        raise
    finally:
        upload.on_move = None


async def _refusal(answer: Answer, target: Target) -> errors.UpstreamError:
    content = b""
    try:
        async with asyncio.timeout(REFUSAL_S):
            content = await answer.read(MOST_OF_A_REFUSAL)
    except (errors.UpstreamError, TimeoutError):
        content = b""  # the status says enough
    finally:
        await answer.close()
    return provider_of(target.kind).error(target, answer.status, answer.headers, content)


async def _begun_stream(between: Interpreter, answer: Answer, started_at: float) -> OpenStream:
    """The stream that the answer is, once it has begun with output."""
    target, dialect = between.target, between.dialect
    frames = WholeFrames(answer, target, dialect.framing())
    watch, dropped = between.watch(), between.drops.names
    stream = OpenStream(target, watch, b"", frames, answer, started_at, dropped)
    _expect(answer, dialect.stream_type, target)
    await _hold_until_output(stream)
    return stream


def _watched(between: Interpreter, answer: Answer, target: Target) -> tuple[str, BodyWatch]:
    """The answer's content type, if it is one that the format has, and a watch over it."""
    told = answer.headers.get("content-type", "")
    kind = told.partition(";")[0].strip().lower()
    dialect = between.dialect
    if isinstance(dialect, BodyDialect) and kind.startswith(dialect.answer_types):
        plain = next(filter(_PLAIN_TYPE.fullmatch, (told, kind)), None)
        if plain:
            return plain, dialect.body_watch(kind)
    raise errors.UpstreamBadResponse(
        f"Provider {target.provider_name!r} answered with something else than was asked for."
    )


async def _hold_until_sure(body: OpenBody) -> None:
    held: list[bytes] = []
    size = 0
    try:
        while size < body.watch.undecided:
            piece = await anext(body.answer, b"")
            if not piece:
                body.watch.close()
                body.is_whole = True
                break
            body.watch.see(piece)
            held.append(piece)
            size += len(piece)
    except ValueError as error:
        raise _malformed(body.target) from error
    if body.watch.failure is not None:
        raise provider_of(body.target.kind).stream_error(body.target, body.watch.failure)
    body.held = b"".join(held)


async def _hold_until_output(stream: OpenStream) -> None:
    held = []
    size = 0
    async for frames in stream.rest:
        held.append(_seen(stream, frames))
        size += len(frames)
        if stream.watch.failure:
            provider = provider_of(stream.target.kind)
            raise provider.stream_error(stream.target, stream.watch.failure)
        if stream.watch.has_output or stream.watch.is_complete:
            stream.held, stream.rest.has_begun = b"".join(held), True
            return
        if size > MOST_HELD:
            raise _malformed(stream.target)
    held.append(closed(stream))
    if stream.watch.is_complete:
        stream.held, stream.rest.has_begun = b"".join(held), True
        return
    raise errors.UpstreamBrokeOff(
        f"Provider {stream.target.provider_name!r} ended the stream before it began."
    )


def _seen(stream: OpenStream, frames: bytes) -> bytes:
    try:
        return stream.watch.see(frames)
    except ValueError as error:
        raise _malformed(stream.target) from error


def closed(stream: OpenStream) -> bytes:
    """What the end of the upstream's connection says to the client."""
    try:
        return stream.watch.close()
    except ValueError as error:
        raise _malformed(stream.target) from error


def _read(between: Interpreter, content: bytes, target: Target) -> WholeAnswer:
    try:
        body: Any = loads(content)
        failure = between.dialect.failure_in(body)
        if failure is not None:
            raise provider_of(target.kind).stream_error(target, failure)
        if not between.dialect.is_answer(body):
            raise _malformed(target)
        usage = between.usage_in(body)
        lacks_output = metering.lacks_output(between.question, usage)
        said = between.text_in(body) if lacks_output else ""
        told = between.content_for(content, body)
    except ValueError as error:
        raise _malformed(target) from error
    return WholeAnswer(target, told, usage, said, between.drops.names)


def _expect(answer: Answer, content_type: str, target: Target) -> None:
    if not answer.headers.get("content-type", "").lower().startswith(content_type):
        raise errors.UpstreamBadResponse(
            f"Provider {target.provider_name!r} answered a stream with something else."
        )


def _malformed(target: Target) -> errors.UpstreamError:
    return errors.UpstreamBadResponse(f"Provider {target.provider_name!r} sent a malformed answer.")


def _too_slow(target: Target) -> errors.UpstreamError:
    return errors.UpstreamTimeout(f"Provider {target.provider_name!r} took too long to answer.")
