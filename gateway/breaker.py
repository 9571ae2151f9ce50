"""Which targets are left alone for now: open after failures, half-open after a pause.

State is per process and lives on the event loop. Transitions are reported to
`registry.health`, so that the admin and other processes learn of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.errors import Recovery, UpstreamError, UpstreamRateLimited
from registry import health
from registry.snapshot import Target

#: Failures in a row that open a breaker, and how long it stays open, in seconds.
FAILURES_TO_OPEN = 5
OPEN_FOR_S = 10.0
#: How long a rate-limited target is left alone when it does not say, and how long at most.
DEFAULT_COOLING_S = 5.0
LONGEST_COOLING_S = 3600.0


@dataclass(slots=True)
class State:
    failures: int = 0
    open_until: float = 0.0
    #: Until when the provider itself has asked to be left alone.
    asked_until: float = 0.0
    #: While half-open: until when the one probe may take before another is let through.
    probing_until: float = 0.0


class Breakers:
    """The breakers of all targets that failed lately. Forgets a target that succeeds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states: dict[tuple[int, int | None], State] = {}

    def is_out(self, target: Target) -> bool:
        """Whether to leave `target` out. Half-open, it says no once: that is the probe."""
        state = self._states.get(target.id)
        if state is None or not state.open_until:
            return False
        now = self._clock()
        if now < state.open_until or now < state.probing_until:
            return True
        state.probing_until = now + OPEN_FOR_S
        _report(target, "half_open", "probe")
        return False

    def asked_to_wait_s(self, target: Target) -> float:
        """For how long yet the provider has asked not to be called; 0 if it has not."""
        state = self._states.get(target.id)
        return max(state.asked_until - self._clock(), 0.0) if state else 0.0

    def succeeded(self, target: Target) -> None:
        state = self._states.get(target.id)
        if state is None or state.open_until > self._clock():
            # During the pause only what began before it can succeed: that ends no pause.
            return
        del self._states[target.id]
        if state.open_until:
            _report(target, "closed", "")

    def failed(self, target: Target, error: UpstreamError) -> None:
        """Count a failure of the target's. The client's own faults never count."""
        if error.recovery is Recovery.NONE:
            return
        state = self._states.setdefault(target.id, State())
        state.failures += 1
        if isinstance(error, UpstreamRateLimited) and error.retry_after is not None:
            asked = min(error.retry_after, LONGEST_COOLING_S)
            state.asked_until = max(state.asked_until, self._clock() + asked)
        pause = self._pause_after(state, error)
        if pause:
            # A longer pause that was already agreed is never shortened.
            state.open_until = max(state.open_until, self._clock() + pause)
            state.probing_until = 0.0
            _report(target, "open", error.code or "")

    def _pause_after(self, state: State, error: UpstreamError) -> float:
        if isinstance(error, UpstreamRateLimited):
            told = error.retry_after
            return DEFAULT_COOLING_S if told is None else min(told, LONGEST_COOLING_S)
        if state.failures >= FAILURES_TO_OPEN or state.open_until:
            return OPEN_FOR_S
        return 0.0


def _report(target: Target, state: health.State, reason: str) -> None:
    health.report(target.id, target.provider_name, state, reason, at=datetime.now(UTC))


breakers = Breakers()
