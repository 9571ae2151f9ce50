"""Adaptive throttling: a target that refuses most of its requests is sent fewer of them.

The formula is that of Google's "Site Reliability Engineering", chapter 21: what is not sent
grows with the requests that were wanted and not accepted, and shrinks as they are accepted.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.window import Window
from registry.snapshot import Target

#: So many times the requests that it accepts may be sent to a target.
K = 2
#: Seconds that are looked at. The book's two minutes would take as long again to recover.
WINDOW_S = 4
#: Fewer requests than this say nothing.
LEAST = 20
#: So much of its traffic is not sent at most: by what is left it shows that it works again.
MOST = 0.95


def reject_probability(requests: int, accepts: int) -> float:
    """The part of requests that is not sent, 0 to 1."""
    return min(max(0.0, (requests - K * accepts) / (requests + 1)), MOST)


class Throttle:
    """The requests that targets of one process were meant for, and those they accepted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[tuple[int, int | None], Window] = {}
        #: The ids of targets that refuse so much that less is sent to them.
        self._sick: set[tuple[int, int | None]] = set()

    @property
    def is_quiet(self) -> bool:
        """Whether everything is sent to everybody."""
        return not self._sick

    def wanted(self, target: Target) -> None:
        """A request was meant for the target, whether it was sent or not."""
        self._count(target, 1, 0)

    def accepted(self, target: Target) -> None:
        self._count(target, 0, 1)

    def probability(self, target: Target) -> float:
        """How probably a request should not be sent to the target now."""
        window = self._windows.get(target.id)
        if window is None or window.slide(self._clock()).all < LEAST:
            return 0.0
        return reject_probability(window.all, window.some)

    def _count(self, target: Target, wanted: int, accepted: int) -> None:
        window = self._windows.get(target.id)
        if window is None:
            window = self._windows[target.id] = Window(WINDOW_S)
        window.add(self._clock(), wanted, accepted)
        if window.all >= LEAST and window.all > K * window.some:
            self._sick.add(target.id)
        else:
            self._sick.discard(target.id)


throttle = Throttle()
