"""Which targets are left alone for now: open after failures, half-open after a pause.

State is per process and lives on the event loop. Transitions are reported to
`registry.health`, so that the admin and other processes learn of them; what they have learned
is heeded in `gateway.standing`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from gateway import errors
from gateway.errors import UpstreamError
from gateway.recovery import asked_pause_s, is_the_targets
from gateway.routing import Out
from gateway.window import Window
from registry import health
from registry.snapshot import Target

#: Failures in a row that open a breaker.
FAILURES_TO_OPEN = 5
#: Or so large a part of at least so many calls in so many seconds.
RATE_TO_OPEN = 0.5
LEAST_CALLS = 20
WINDOW_S = 10
#: How long it stays open, in seconds.
OPEN_FOR_S = 10.0


@dataclass(slots=True)
class State:
    """What is known of one target. Times are of the breakers' clock; 0: never."""

    #: Failures since the last success.
    failures: int = 0
    #: Calls of the last seconds, and those of them that failed.
    calls: Window = field(default_factory=lambda: Window(WINDOW_S))
    opened_at: float = 0.0
    #: Until when it stays open; behind that it is half-open.
    open_until: float = 0.0
    #: Until when the provider itself has asked to be left alone, and by which failure.
    asked_until: float = 0.0
    asked_by: str = ""
    #: While half-open: since when the one probe is under way.
    probing_since: float = 0.0


class Begun(NamedTuple):
    """An attempt that is under way."""

    #: A time of the breakers' clock.
    at: float
    #: Whether it is the one that shows if a half-open target works again.
    is_probe: bool = False


class Breakers:
    """The breakers of the targets that this process has called."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states: dict[tuple[int, int | None], State] = {}
        #: The ids of targets whose breaker is not closed.
        self._not_closed: set[tuple[int, int | None]] = set()

    @property
    def are_quiet(self) -> bool:
        """Whether all are closed."""
        return not self._not_closed

    def out(self, target: Target) -> Out | None:
        """Why `target` is left alone. Half-open, it is not until `begin` claims the probe."""
        state = self._states.get(target.id)
        if state is None or not (state.open_until or state.asked_until):
            return None
        now = self._clock()
        if state.asked_until > now:
            return Out(state.asked_by, state.asked_until - now, is_final=True)
        if state.open_until > now:
            return Out("breaker_open", state.open_until - now)
        return Out("probing") if state.probing_since else None

    def is_failing(self, target: Target) -> bool:
        """Whether it failed the last time."""
        state = self._states.get(target.id)
        return state is not None and state.failures > 0

    def begin(self, target: Target) -> Begun:
        """An attempt begins now. Half-open, it is the probe: others wait for its outcome.

        Each attempt ends with one of `succeeded`, `failed` and `gave_up`.
        """
        state, now = self._states.get(target.id), self._clock()
        if state and state.open_until and state.open_until <= now and not state.probing_since:
            state.probing_since = now
            _report(target, "half_open", "probe")
            return Begun(now, is_probe=True)
        return Begun(now)

    def succeeded(self, target: Target, begun: Begun) -> None:
        """It answered. What began before the breaker opened ends no pause."""
        state = self._state(target)
        state.calls.add(self._clock(), 1, 0)
        if begun.at < state.open_until:
            return
        state.failures, state.asked_until = 0, 0.0
        if state.open_until:
            self._close(target, state)

    def failed(self, target: Target, error: UpstreamError, begun: Begun) -> None:
        """Count a failure of the target's. The client's own faults never count."""
        if not is_the_targets(error, target):
            self.gave_up(target, begun)
            return
        state, now = self._state(target), self._clock()
        state.failures += 1
        state.calls.add(now, 1, 1)
        pause = asked_pause_s(error)
        if pause is not None and error.retry_after is not None:
            self._heed(state, now + pause, error)
        if not pause and self._has_to_open(state, begun):
            pause = OPEN_FOR_S
        if pause:
            self._open(target, state, pause, error)

    def gave_up(self, target: Target, begun: Begun) -> None:
        """The attempt ended without saying anything of the target: another may be the probe."""
        state = self._states.get(target.id)
        # A late one, of before the breaker opened anew, makes no room for a second probe.
        if state and begun.is_probe and begun.at == state.probing_since:
            state.probing_since = 0.0

    def try_again(self, target: Target, since_s: float) -> None:
        """End pauses that began more than so many seconds ago: the next attempt is the probe."""
        state, now = self._states.get(target.id), self._clock()
        if state and state.opened_at < now - since_s:
            state.open_until = min(state.open_until, now)
            state.asked_until = min(state.asked_until, now)

    def _has_to_open(self, state: State, begun: Begun) -> bool:
        if state.open_until:
            # The probe, or one that was let through because no other was left.
            return begun.at >= state.open_until
        calls = state.calls
        is_bad = calls.all >= LEAST_CALLS and calls.some >= RATE_TO_OPEN * calls.all
        return is_bad or state.failures >= FAILURES_TO_OPEN

    def _heed(self, state: State, until: float, error: UpstreamError) -> None:
        # A longer pause that was already agreed is never shortened.
        if until > state.asked_until:
            is_limit = isinstance(error, errors.UpstreamRateLimited)
            state.asked_until = until
            state.asked_by = "rate_limited" if is_limit else "asked_to_wait"

    def _open(self, target: Target, state: State, pause: float, error: UpstreamError) -> None:
        now = self._clock()
        self._not_closed.add(target.id)
        state.opened_at, state.probing_since = now, 0.0
        state.open_until = max(state.open_until, now + pause)
        _report(target, "open", error.code or "", self._until(state), state.asked_by)

    def _close(self, target: Target, state: State) -> None:
        self._not_closed.discard(target.id)
        state.calls, state.probing_since = Window(WINDOW_S), 0.0
        state.opened_at = state.open_until = 0.0
        _report(target, "closed", "")

    def _until(self, state: State) -> datetime:
        """Until when it is left alone, by the calendar."""
        left = max(state.open_until, state.asked_until) - self._clock()
        return datetime.now(UTC) + timedelta(seconds=left)

    def _state(self, target: Target) -> State:
        state = self._states.get(target.id)
        if state is None:
            state = self._states[target.id] = State()
        return state


def _report(
    target: Target,
    state: health.State,
    reason: str,
    until: datetime | None = None,
    asked_by: str = "",
) -> None:
    now = datetime.now(UTC)
    health.report(target.id, target.provider_name, state, reason, now, until, asked_by)


breakers = Breakers()
