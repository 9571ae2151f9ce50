"""How much of a process's work may be retries, so that they cannot become a storm.

The shape is Envoy's retry budget: a part of the requests that are waiting, and never fewer
than a few.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

#: Retries for each request that is not retrying itself, and how many there may be always.
SHARE = 0.2
FLOOR = 3


class RetryBudget:
    """The requests of one process that wait for an upstream, and those of them that retry."""

    def __init__(self) -> None:
        self.waiting = 0
        self.retrying = 0
        #: Retries that were refused, ever.
        self.refused = 0

    @contextlib.contextmanager
    def request(self) -> Iterator[Share]:
        """A request waits for an upstream."""
        share = Share(self)
        self.waiting += 1
        try:
            yield share
        finally:
            self.waiting -= 1
            self.retrying -= share.is_retrying


class Share:
    """What one request has of the budget."""

    __slots__ = ("_budget", "is_retrying")

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self.is_retrying = False

    def take(self) -> bool:
        """Begin to retry, if there is room. A request that retries already may go on."""
        budget = self._budget
        first_tries = budget.waiting - budget.retrying - 1
        if self.is_retrying or budget.retrying < max(FLOOR, SHARE * first_tries):
            budget.retrying += not self.is_retrying
            self.is_retrying = True
            return True
        budget.refused += 1
        return False


retries = RetryBudget()
