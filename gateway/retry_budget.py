"""How much of a process's work may be retries, so that they cannot become a storm.

The shape is Envoy's retry budget: a part of the requests that are waiting, and never fewer
than a few. Where failures come fast, waiting requests say little: so it is a part of the
requests of the last seconds, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from gateway.window import Window

#: Retries for each request that is not retrying itself, and how many there may be always.
SHARE = 0.2
FLOOR = 3
#: Seconds that are looked at.
WINDOW_S = 10


class RetryBudget:
    """The requests of one process that wait for an upstream, and those of them that retry."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.waiting = 0
        self.retrying = 0
        #: Requests of the last seconds, and retries.
        self.lately = Window(WINDOW_S)
        #: Retries that were refused, ever.
        self.refused = 0

    def request(self) -> Share:
        """What a request has of it; it waits for an upstream as long as that is entered."""
        return Share(self)

    def begin(self) -> None:
        self.waiting += 1
        self.lately.add(self._clock(), 1, 0)

    def end(self, *, was_retrying: bool) -> None:
        self.waiting -= 1
        self.retrying -= was_retrying

    def has_room(self, *, for_another: bool) -> bool:
        """Whether one more retry may be made, by a request that has made none if `for_another`."""
        lately = self.lately.slide(self._clock())
        if lately.some >= max(FLOOR, SHARE * max(lately.all, self.waiting)):
            return False
        first_tries = self.waiting - self.retrying - 1
        return not for_another or self.retrying < max(FLOOR, SHARE * first_tries)

    def retry(self) -> None:
        """A retry is made."""
        self.lately.add(self._clock(), 0, 1)


class Share:
    """What one request has of the budget."""

    __slots__ = ("_budget", "is_retrying")

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self.is_retrying = False

    def __enter__(self) -> Share:
        self._budget.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._budget.end(was_retrying=self.is_retrying)

    def take(self) -> bool:
        """Make a retry, if there is room."""
        budget = self._budget
        if not budget.has_room(for_another=not self.is_retrying):
            budget.refused += 1
            return False
        budget.retry()
        budget.retrying += not self.is_retrying
        self.is_retrying = True
        return True


retries = RetryBudget()
