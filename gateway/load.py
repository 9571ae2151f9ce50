"""What this process has in flight at each target, and how soon targets answer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from registry.snapshot import Target

#: How fast an old latency is forgotten: after so many seconds a third of it is left.
DECAY_S = 10.0
#: What a failure counts as, so that failing fast does not look like answering fast.
PENALTY_S = 5.0
#: Targets that are remembered at most.
MOST_KNOWN = 10_000


@dataclass(slots=True)
class Measured:
    in_flight: int = 0
    latency_s: float = 0.0
    #: When that was; 0: nothing is known yet.
    at: float = 0.0


class Load:
    """One process's view of its targets. Lives on the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._measured: dict[tuple[int, int | None], Measured] = {}

    def in_flight(self, target: Target) -> int:
        known = self._measured.get(target.id)
        return known.in_flight if known else 0

    def latency_s(self, target: Target) -> float | None:
        """Peak-EWMA: a slow answer counts at once, and is forgotten slowly. None: not known."""
        known = self._measured.get(target.id)
        return known.latency_s if known and known.at else None

    def begin(self, target: Target) -> None:
        """An attempt begins. `end` is to be called once for each."""
        known = self._measured.get(target.id)
        if known is None:
            known = self._measured[target.id] = Measured()
            if len(self._measured) > MOST_KNOWN:
                self._forget()
        known.in_flight += 1

    def end(self, target: Target) -> None:
        known = self._measured.get(target.id)
        if known and known.in_flight:
            known.in_flight -= 1

    def answered(self, target: Target, seconds: float) -> None:
        """The first output was there after so long."""
        known = self._measured.get(target.id)
        if known is None:
            return
        now = self._clock()
        if not known.at or seconds >= known.latency_s:
            known.latency_s = seconds
        else:
            kept = math.exp((known.at - now) / DECAY_S)
            known.latency_s = known.latency_s * kept + seconds * (1 - kept)
        known.at = now

    def failed(self, target: Target) -> None:
        self.answered(target, max(PENALTY_S, self.latency_s(target) or 0.0))

    def _forget(self) -> None:
        """Forget those that serve nothing, the oldest first, down to half."""
        idle = [name for name, known in self._measured.items() if not known.in_flight]
        for name in idle[: MOST_KNOWN // 2]:
            del self._measured[name]


load = Load()
