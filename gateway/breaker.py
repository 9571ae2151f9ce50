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
from gateway.routing import Out
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

    def out(self, target: Target) -> Out | None:
        """Why `target` is left alone. Half-open, it is not until `begin` claims the probe."""
        state = self._states.get(target.id)
        if state is None:
            return None
        now = self._clock()
        if state.asked_until > now:
            return Out("rate_limited", state.asked_until - now, is_final=True)
        if state.open_until > now:
            return Out("breaker_open", state.open_until - now)
        if state.probing_until > now:
            return Out("probing", state.probing_until - now)
        return None

    def begin(self, target: Target) -> None:
        """An attempt begins. Half-open, it is the probe: others wait for what becomes of it."""
        state = self._states.get(target.id)
        if state is None or not state.open_until or self._clock() < state.open_until:
            return
        state.probing_until = self._clock() + OPEN_FOR_S
        _report(target, "half_open", "probe")

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
