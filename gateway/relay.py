"""Streams on their way back: passes frames on, looks at them, and ends once.

A stream is written by the task that serves the request. One pulse per process, not a timer
per chunk, watches for silence, stalls and shutdown.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http.response import HttpResponseBase

from accounts import principals
from accounts.errors import InvalidApiKey
from gateway import disclosure, errors, metering, sse
from gateway.attempt import OpenBody, OpenStream, closed
from gateway.bill import MARGIN, STEP
from lib.errors import CourierError
from usage import recorder

if TYPE_CHECKING:
    from gateway.exchange import Exchange

logger = logging.getLogger(__name__)

#: Seconds between looks at the open streams.
PULSE_S = 0.25
#: A look that comes so much later than it was due comes after a standstill.
LATE_S = 0.25
#: How long one write to a client that does not read may take, in seconds.
WRITE_STALL_S = 30.0
#: Streams older than this have their progress noted, this often, in seconds.
PROGRESS_S = 2.0
LONG_STREAM_S = 5.0
#: Streams that are read on after their client left, at most.
MOST_DRAINING = 64


class Relay(HttpResponseBase, ABC):
    """An answer on its way. `relay` passes it on; whatever happens, its exchange ends."""

    streaming = True

    def __init__(self, opened: OpenStream | OpenBody, exchange: Exchange) -> None:
        super().__init__()
        self.exchange = exchange
        self.reply = exchange.caller.reply
        self.task: asyncio.Task[Any] | None = None
        self._opened = opened
        #: Whether another task reads the answer to its end, and closes it.
        self._is_read_on = False
        #: Why the pulse ended the answer; None if it did not.
        self._ended_by: CourierError | None = None
        self._now = asyncio.get_running_loop().time
        self.heard_at = self.noted_at = self._now()

    @abstractmethod
    async def _relay(self) -> None:
        """Pass the answer on. Raises what it broke off for."""

    @abstractmethod
    async def _tell(self, error: CourierError) -> None:
        """Let the client know that the answer broke off, without any sign of success."""

    @abstractmethod
    async def _read_on(self) -> None:
        """Read the answer to its end for nobody. Raises what it broke off for."""

    @abstractmethod
    def _metered(self) -> metering.Metered:
        """What the answer has used so far."""

    def _output_estimate(self) -> int:
        """A cheap guess at the output tokens so far."""
        return 0

    def _break_silence(self, now: float) -> None:
        """Nothing is being written at the moment."""

    async def relay(self) -> None:
        """Pass the answer on to its end."""
        self.task = asyncio.current_task()
        pulse.watched.add(self)
        try:
            await self._relay()
        except asyncio.CancelledError:
            if self.reply.client_is_gone:
                await self._client_left()
                raise
            asyncio.current_task().uncancel()  # type: ignore[union-attr]  # runs in a task
            await self._break_off(self._ended_by or errors.ShuttingDown())
        except CourierError as error:
            await self._break_off(error)
        except OSError:
            # What came from the upstream is mapped: this is a server's way to say that the
            # client has left.
            await self._client_left()
        except Exception:
            await self._break_off(errors.InternalError("Courier failed in the middle of this."))
            raise
        finally:
            pulse.watched.discard(self)

    async def finish(self) -> None:
        """The answer is over: let its connection be used again."""
        if not self._is_read_on:
            await self._opened.answer.finish()

    def _interrupted(self, how: str) -> errors.StreamInterrupted:
        return errors.StreamInterrupted(
            f"Provider {self._opened.target.provider_name!r} {how} in the middle of the stream."
        )

    async def _break_off(self, error: CourierError) -> None:
        if isinstance(error, errors.UpstreamUnavailable | errors.UpstreamUnreachable):
            error = self._interrupted("broke off its answer")
        try:
            # First of all: a second cancellation must not come before the record.
            self.exchange.break_off(error, self._metered())
        finally:
            await self._opened.close()
        await self._tell(error)

    async def _client_left(self) -> None:
        drains = self._opened.target.drains and not self.exchange.has_ended
        if drains and len(pulse.draining) < MOST_DRAINING:
            task = asyncio.ensure_future(self._drain())
            pulse.draining.add(task)
            task.add_done_callback(self._drained)
            # It is going to be, so nobody gets it anew with the same Idempotency-Key.
            self._is_read_on = self.reply.was_charged = True
            return
        await self._leave()

    async def _drain(self) -> None:
        """Read an answer that is paid for anyway to its end, for its usage."""
        target = self._opened.target
        try:
            async with asyncio.timeout(min(target.drain_timeout_s, target.total_timeout_s)):
                await self._read_on()
        except (CourierError, TimeoutError, ValueError):
            pass  # what was seen until now is what can be counted
        finally:
            await self._leave()

    def _drained(self, task: asyncio.Task[None]) -> None:
        pulse.draining.discard(task)
        if not self.exchange.has_ended:
            # It was cancelled before its first step: nobody else knows of the answer any more.
            pulse.spawn(self._opened.close())
            self.exchange.client_left(self._metered())

    async def _leave(self) -> None:
        try:
            self.exchange.client_left(self._metered())
        finally:
            await self._opened.close()

    def beat(self, now: float) -> None:
        """One look of the pulse: note progress, break a silence, or end what has stalled."""
        fault = self._fault(now)
        if fault is not None:
            self.end_with(fault)
        elif not self.reply.is_writing:
            self._break_silence(now)
        if now - self._opened.started_at > LONG_STREAM_S and now - self.noted_at > PROGRESS_S:
            self.noted_at = now
            recorder.progress(
                self.exchange.caller.request_id, self._output_estimate(), self.exchange.bill.tries
            )

    def _fault(self, now: float) -> CourierError | None:
        """Why the answer has to end now, if it has to."""
        target, reply = self._opened.target, self.reply
        if principals.has_ended(self.exchange.principal):
            return InvalidApiKey()
        if reply.is_writing:
            stalls = now - reply.written_at > WRITE_STALL_S
            return errors.ClientStalled("The client stopped reading.") if stalls else None
        age = now - self._opened.started_at
        if now - self.heard_at > target.idle_timeout_s or age > target.total_timeout_s:
            return errors.UpstreamStalled(f"Provider {target.provider_name!r} took too long.")
        return None

    def end_with(self, error: CourierError) -> None:
        """End the answer from outside its task; it tells its client why."""
        if self._ended_by is None and self.task is not None:
            self._ended_by = error
            self.task.cancel()


class EventStream(Relay):
    """An answer that is a stream of events."""

    def __init__(self, stream: OpenStream, exchange: Exchange) -> None:
        super().__init__(stream, exchange)
        self.stream = stream
        #: The output tokens that the holds cover; None where they need never be extended.
        self._covered = exchange.bill.covered_tokens(stream.target)

    async def _relay(self) -> None:
        await self._begin()
        last, self.stream.held = self.stream.held, b""
        try:
            if not self.stream.watch.is_complete:
                last = await self._pass_on(last)
        except errors.BudgetUsedUp:
            await self._end_early()
            return
        self.exchange.complete(self._metered())
        await self.reply.write(last, more=False)

    async def _begin(self) -> None:
        dropped = self.exchange.dropped and disclosure.is_wanted("x-courier-dropped-params")
        if self.reply.has_begun and dropped:
            # The head has left before the target was known: too late for a header.
            told = f"x-courier-dropped-params: {self.exchange.dropped_names()}"
            await self.reply.write(self.exchange.question.dialect.remark(told))
        await self.reply.begin_stream(self.exchange.answer_headers().items())

    async def _pass_on(self, held: bytes) -> bytes:
        """Pass on frames until the stream is complete. Returns its last ones, not yet sent."""
        watch, write = self.stream.watch, self.reply.write
        await write(held)
        await self._cover()
        async for frames in self.stream.rest:
            if sse.has_event(frames):
                self.heard_at = self._now()
            for run in (frames,) if self._covered is None else _runs(frames):
                seen = self._seen(run)
                if watch.is_complete:
                    return seen
                if seen:
                    await write(seen)
                if self._covered is not None:
                    await self._cover()
        last = closed(self.stream)
        if watch.is_complete:
            return last
        raise self._interrupted("broke off its answer")

    def _seen(self, frames: bytes) -> bytes:
        watch = self.stream.watch
        try:
            seen = watch.see(frames)
        except ValueError as error:
            raise self._interrupted("sent a malformed chunk") from error
        if watch.failure is not None:
            raise self._interrupted("reported a failure")
        return seen

    async def _cover(self) -> None:
        """Hold as much as the answer has grown. Raises BudgetUsedUp if a budget has no more."""
        while self._covered is not None and self._is_nearly_out(self._covered):
            if not await self.exchange.cover_next_step():
                raise errors.BudgetUsedUp
            self._covered += STEP

    def _is_nearly_out(self, covered: int) -> bool:
        return self.stream.watch.output_estimate() + MARGIN > covered

    async def _end_early(self) -> None:
        """The budget is used up: end the stream as if the model had come to its own limit."""
        metered = self._metered()
        try:
            self.exchange.run_out(metered)
        finally:
            await self.stream.close()
        ending = self.stream.watch.ending(errors.BudgetUsedUp.reason, metered.usage)
        await self.reply.write(ending, more=False)

    def _metered(self) -> metering.Metered:
        watch = self.stream.watch
        question, target = self.exchange.question, self.stream.target
        lacks_output = not watch.knows_output or metering.lacks_output(question, watch.usage)
        said = watch.seen_text() if lacks_output else ""
        return metering.metered(question, watch.usage, said, target.upstream_model)

    async def _tell(self, error: CourierError) -> None:
        frame = self.stream.watch.error_frame(error, str(self.exchange.caller.request_id))
        await self.reply.write(frame, more=False)

    async def _read_on(self) -> None:
        watch = self.stream.watch
        async for frames in self.stream.rest:
            watch.see(frames)
            if watch.is_complete:
                break
            await self._cover()

    def _output_estimate(self) -> int:
        return self.stream.watch.output_estimate()

    def _break_silence(self, now: float) -> None:
        if now - self.reply.written_at >= settings.COURIER_KEEP_ALIVE_S:
            pulse.spawn(self.reply.keep_alive((), self.exchange.question.dialect.keep_alive))


def _runs(frames: bytes) -> Sequence[bytes]:
    """Frames in runs that hold less than a step of output, so that none is passed on unpaid."""
    return (frames,) if len(frames) < STEP else sse.split(frames)


class Waiting:
    """A stream that has no output yet. After a silence it begins, so that nobody cuts it."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __enter__(self) -> None:
        pulse.watched.add(self)

    def __exit__(self, *_: object) -> None:
        pulse.watched.discard(self)

    def beat(self, now: float) -> None:
        reply = self._exchange.caller.reply
        if now - reply.written_at >= settings.COURIER_KEEP_ALIVE_S:
            sign = self._exchange.question.dialect.keep_alive
            pulse.spawn(reply.keep_alive(self._exchange.early_headers().items(), sign))


class Pulse:
    """Looks at every open stream of this process now and then."""

    def __init__(self) -> None:
        self.watched: set[Relay | Waiting] = set()
        self.draining: set[asyncio.Task[Any]] = set()
        self._beside: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Beat until cancelled."""
        now = asyncio.get_running_loop().time
        has_waited = False
        while True:
            due = now() + PULSE_S
            await asyncio.sleep(PULSE_S)
            moment = now()
            # A process that stood still has yet to read what came meanwhile. One look is left out
            # for it: whoever is late each time has to look all the same.
            has_waited = not has_waited and moment > due + LATE_S
            if not has_waited:
                for each in list(self.watched):
                    self._look_at(each, moment)

    def _look_at(self, each: Relay | Waiting, moment: float) -> None:
        try:
            each.beat(moment)
        except Exception as error:  # the others must go on being looked at
            self.watched.discard(each)
            logger.exception("a stream is no longer watched", exc_info=error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do a little beside the stream's own task, which waits for its upstream or is over."""
        task = asyncio.ensure_future(work)
        self._beside.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._beside.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.warning("what was done beside a stream failed: %s", type(error).__name__)

    def end_all(self) -> set[asyncio.Task[Any]]:
        """End every open stream, for the process is about to stop. Returns their tasks."""
        streams = [each for each in self.watched if isinstance(each, Relay)]
        for stream in streams:
            stream.end_with(errors.ShuttingDown())
        for task in self.draining:
            task.cancel()
        return {stream.task for stream in streams if stream.task is not None}


pulse = Pulse()
