"""Retries and fallbacks: tries, waits, moves on. The only owner of retries. Knows no HTTP."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from gateway.errors import NoAvailableTarget, UpstreamError
from gateway.recovery import Recovery, asked_pause_s, recovery_from
from gateway.routing import Out
from registry.snapshot import Target

T = TypeVar("T")

#: Seconds: the first pause before the same target is tried again is half of this on average;
#: it doubles each time, up to the longest.
FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 4.0
#: A wait longer than this is not worth holding a client for: it is told when to come back.
LONGEST_WAIT_S = 4.0


@dataclass(slots=True)
class Candidate:
    """A target that may still be tried, and from when on."""

    target: Target
    place: int
    ready_at: float = 0.0
    tries: int = 0
    #: How often its route has failed in this request: other routes come first.
    behind: int = 0


@dataclass(slots=True)
class Attempts:
    """What one request may spend on upstream calls, and has spent.

    `deadline` is a time of the event loop's clock: by then the first byte must be there.
    """

    most: int
    deadline: float
    #: Seconds that an attempt gets even if those after it then have none. For answers whose
    #: first byte comes when all is done: cut short, they would be paid for and thrown away.
    least_s: float = 0.0
    made: int = 0
    #: The targets called, in order, each with the failure that ended it, if one did.
    log: list[tuple[Target, UpstreamError | None]] = field(default_factory=list)


class Gate(Protocol):
    """What may be called at this moment. Asked before each call, so that nothing is outdated."""

    def out(self, target: Target) -> Out | None:
        """Why the target is left alone; None if it may be called."""

    def may_retry(self, target: Target, tries: int) -> bool:
        """Whether there is room for one more call, to a target that was tried so often."""


class Open:
    """Lets everything through."""

    def out(self, target: Target) -> Out | None:
        return None

    def may_retry(self, target: Target, tries: int) -> bool:
        return True


async def first_success(
    targets: Sequence[Target],
    attempt: Callable[[Target, float], Awaitable[T]],
    attempts: Attempts,
    gate: Gate = Open(),  # noqa: B008  # it holds nothing
) -> T:
    """What `attempt` returns for the first target where it succeeds.

    `attempt` is given a target and the seconds it may take until its first byte. Raises at
    once if the request itself is at fault, and otherwise the last failure when every
    target, every attempt, the retries of this process, or the time is used up.
    """
    line = Line(targets, attempts, gate)
    refusals: list[UpstreamError] = []
    last: UpstreamError = NoAvailableTarget("No route of this model is available at the moment.")
    while candidate := await line.next():
        attempts.made += 1
        candidate.tries += 1
        try:
            won = await attempt(candidate.target, line.share_of(candidate))
        except UpstreamError as error:
            if not error.was_called:
                attempts.made -= 1
                refusals.append(error)
                line.remove(candidate)
                continue
            last = error
            attempts.log.append((candidate.target, error))
            line.put_back(candidate, error)
            continue
        attempts.log.append((candidate.target, None))
        return won
    if refusals and not attempts.made:
        raise _soonest(refusals)
    raise final(last, attempts)


def _soonest(refusals: Sequence[UpstreamError]) -> UpstreamError:
    """Of those that all refused without a call, the one that is open again first."""
    return min(refusals, key=lambda error: error.retry_after or math.inf)


class Line:
    """The targets that one request may still be tried at, in their order."""

    def __init__(self, targets: Sequence[Target], attempts: Attempts, gate: Gate) -> None:
        self._line = [Candidate(target, place) for place, target in enumerate(targets)]
        self._attempts = attempts
        self._gate = gate

    async def next(self) -> Candidate | None:
        """The one to call now, maybe after a pause; None if there is none."""
        while self._attempts.made < self._attempts.most:
            candidate = self._first()
            if candidate is None:
                return None
            wait = candidate.ready_at - _now()
            if wait > 0:
                await asyncio.sleep(wait)  # and look again: much may have changed meanwhile
            elif self._attempts.made and not self._may_retry(candidate):
                self.remove(candidate)
            else:
                return candidate
        return None

    def share_of(self, candidate: Candidate) -> float:
        """Seconds for one attempt: an even part of what is left, so that others have time too."""
        attempts = self._attempts
        untried = sum(other.tries == 0 for other in self._line if other is not candidate)
        chances = 1 + min(untried, attempts.most - attempts.made)
        left = max(attempts.deadline - _now(), 0.001)
        share = min(max(left / chances, attempts.least_s), left)
        return min(candidate.target.first_byte_timeout_s, share)

    def remove(self, candidate: Candidate) -> None:
        self._line.remove(candidate)

    def put_back(self, failed: Candidate, error: UpstreamError) -> None:
        """Where the one that failed stands now, and others that the failure says something of."""
        match recovery_from(error):
            case Recovery.NONE:
                self._line.clear()
            case Recovery.NEXT_KEY:
                self._line = [each for each in self._line if not _shares_key(each, failed)]
            case Recovery.NEXT_ROUTE:
                self.remove(failed)
                self._put_behind(failed)
            case Recovery.BACKOFF:
                self._put_behind(failed)
                failed.ready_at = _now() + _wait_after(error, failed.tries)
            case Recovery.PAUSE:
                failed.ready_at = _now() + _wait_after(error, failed.tries)

    def _put_behind(self, failed: Candidate) -> None:
        for each in self._line:
            each.behind += each.target.route_id == failed.target.route_id

    def _first(self) -> Candidate | None:
        """The one to be called first; one that is out for now only if no other is left."""
        now = _now()
        self._line = [each for each in self._line if self._is_in_time(each, now)]
        last_resort = None
        for each in sorted(self._line, key=lambda one: _rank(one, now)):
            out = self._gate.out(each.target) if each.ready_at <= now else None
            if out is None:
                return each
            if out.is_final:
                self.remove(each)
            else:
                last_resort = last_resort or each
        return last_resort

    def _is_in_time(self, candidate: Candidate, now: float) -> bool:
        """Whether its turn comes soon enough."""
        turn = max(candidate.ready_at, now)
        return turn < self._attempts.deadline and turn - now <= LONGEST_WAIT_S

    def _may_retry(self, candidate: Candidate) -> bool:
        return self._gate.may_retry(candidate.target, candidate.tries)


def _rank(candidate: Candidate, now: float) -> tuple[float, int, int]:
    return max(candidate.ready_at, now), candidate.behind, candidate.place


def _shares_key(one: Candidate, other: Candidate) -> bool:
    key = one.target.provider_id, one.target.key_id
    return key == (other.target.provider_id, other.target.key_id)


def _wait_after(error: UpstreamError, tries: int) -> float:
    """What the target asked for, and full jitter: no two clients come back together."""
    longest = min(FIRST_BACKOFF_S * 2.0 ** (tries - 1), LONGEST_BACKOFF_S)
    return (asked_pause_s(error) or 0.0) + random.uniform(0, longest)


def final(error: UpstreamError, attempts: Attempts) -> UpstreamError:
    """The failure, as the client is told of it."""
    if attempts.made > 1:
        # Courier has retried already; SDKs that retry on their own would multiply it.
        error.headers["x-should-retry"] = "false"
    if error.retry_after is None:
        error.retry_after = asked_pause_s(error)
    if error.retry_after is not None:
        # Where another target asked for less, it can be asked again before that.
        error.retry_after = min([error.retry_after, *_pauses(attempts)])
    return error


def _pauses(attempts: Attempts) -> list[float]:
    """What each target asked for last, of those that did."""
    last = {target.id: error for target, error in attempts.log if error is not None}
    pauses = map(asked_pause_s, last.values())
    return [pause for pause in pauses if pause is not None]


def _now() -> float:
    return asyncio.get_running_loop().time()
