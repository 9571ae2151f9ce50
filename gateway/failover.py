"""Retries and fallbacks: tries, waits, moves on. Knows no HTTP."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.errors import NoAvailableTarget, Recovery, UpstreamError
from registry.snapshot import Target

T = TypeVar("T")

#: Seconds: the first wait before the same target is tried again; it doubles each time.
FIRST_BACKOFF_S = 0.25
#: A wait longer than this is not worth holding a client for: it is told when to come back.
LONGEST_WAIT_S = 5.0


@dataclass(slots=True)
class Candidate:
    """A target that may still be tried, and from when on."""

    target: Target
    ready_at: float = 0.0
    tries: int = 0


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


async def first_success(
    targets: Sequence[Target],
    attempt: Callable[[Target, float], Awaitable[T]],
    attempts: Attempts,
) -> T:
    """What `attempt` returns for the first target where it succeeds.

    `attempt` is given a target and the seconds it may take until its first byte. Raises at
    once if the request itself is at fault, and otherwise the last failure when every
    target, every attempt, or the time is used up.
    """
    line = [Candidate(target) for target in targets]
    refusals: list[UpstreamError] = []
    last: UpstreamError = NoAvailableTarget("No route of this model is available at the moment.")
    while line and attempts.made < attempts.most:
        candidate = min(line, key=lambda each: each.ready_at)
        if not await _is_ready(candidate, attempts.deadline):
            break
        attempts.made += 1
        candidate.tries += 1
        try:
            won = await attempt(candidate.target, _share(candidate, line, attempts))
        except UpstreamError as error:
            if not error.was_called:
                attempts.made -= 1
                refusals.append(error)
                line.remove(candidate)
                continue
            last = error
            attempts.log.append((candidate.target, error))
            if error.recovery is Recovery.NONE:
                raise
            if error.recovery is Recovery.FALLBACK:
                line.remove(candidate)
            else:
                candidate.ready_at = _now() + _wait_after(error, candidate.tries)
            continue
        attempts.log.append((candidate.target, None))
        return won
    if refusals and not attempts.made:
        raise _soonest(refusals)
    raise _final(last, attempts)


def _soonest(refusals: Sequence[UpstreamError]) -> UpstreamError:
    """Of those that all refused without a call, the one that is open again first."""
    return min(refusals, key=lambda error: error.retry_after or math.inf)


def _share(candidate: Candidate, line: list[Candidate], attempts: Attempts) -> float:
    """Seconds for one attempt: an even part of what is left, so that a fallback has time too."""
    untried = sum(other.tries == 0 for other in line if other is not candidate)
    chances = 1 + min(untried, attempts.most - attempts.made)
    left = max(attempts.deadline - _now(), 0.001)
    share = min(max(left / chances, attempts.least_s), left)
    return min(candidate.target.first_byte_timeout_s, share)


async def _is_ready(candidate: Candidate, deadline: float) -> bool:
    """Wait until the candidate may be called; False if that is too late or too long."""
    wait = candidate.ready_at - _now()
    if wait <= 0:
        return _now() < deadline
    if wait > LONGEST_WAIT_S or candidate.ready_at >= deadline:
        return False
    await asyncio.sleep(wait)
    return True


def _wait_after(error: UpstreamError, tries: int) -> float:
    """What the target asked for, or full jitter around an exponential backoff."""
    backoff = FIRST_BACKOFF_S * 2.0 ** (tries - 1) * random.uniform(0.5, 1.5)
    return max(error.retry_after or 0.0, backoff)


def _final(error: UpstreamError, attempts: Attempts) -> UpstreamError:
    if attempts.made > 1:
        # Courier has retried already; SDKs that retry on their own would multiply it.
        error.headers["x-should-retry"] = "false"
    return error


def _now() -> float:
    return asyncio.get_running_loop().time()
