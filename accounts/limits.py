"""Limits and budgets: the arithmetic, and what a store of them is asked and says.

A window slides. It is a ring of slots: 60 make up the window, and one more is the oldest,
which has partly left it and is counted whole. So no stretch of time as long as the window
ever holds more than the amount, and a limit of 600 a minute admits exactly 600 at once.
It is done in `local_limits.py`, and in `accounts/lua/` for the store that all processes share.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from accounts.models import RateLimit
from accounts.rules import BudgetRule, Limit, Need, Rules

REQUESTS = RateLimit.Metric.REQUESTS.value
CONCURRENCY = RateLimit.Metric.CONCURRENCY.value
#: Metrics that are corrected when the request has ended.
TOKENS = (
    RateLimit.Metric.TOKENS.value,
    RateLimit.Metric.INPUT_TOKENS.value,
    RateLimit.Metric.OUTPUT_TOKENS.value,
)

SLOTS = 60
RING = SLOTS + 1
#: A request whose process died gives its place back after this long.
LEASE_US = 60_000_000
#: When to come back where only another request's end can make room.
BUSY_US = 1_000_000
#: What a verdict says instead of what refuses.
RESERVED, UNKNOWN = -1, -2


class Verdict(NamedTuple):
    """What a store says of one request.

    Per limit: what is used, and the newest slot in use. Per budget: what is spent and held,
    the window, and the amount with its raises.
    """

    #: RESERVED, UNKNOWN (a budget is), or the index of what refuses: limits, then budgets.
    refused: int
    wait_us: int
    now_us: int
    used: Sequence[int]
    newest: Sequence[int]
    spent: Sequence[int]
    reserved: Sequence[int]
    windows: Sequence[int]
    amounts: Sequence[int]


class Look(NamedTuple):
    """The same at one moment, without asking for anything. Spent is -1 where it is unknown."""

    now_us: int
    used: Sequence[int]
    newest: Sequence[int]
    spent: Sequence[int]
    reserved: Sequence[int]
    windows: Sequence[int]
    amounts: Sequence[int]


class Settlement(NamedTuple):
    """The end of a request: what it used, beside what it had reserved."""

    used: Need
    reserved: Need
    #: The slots of the limits and the windows of the budgets that it was admitted in.
    slots: Sequence[int]
    windows: Sequence[int]


class Claims(NamedTuple):
    """Who builds budgets that are unknown: of each 0 known, 1 the asker, 2 somebody else."""

    now_us: int
    claims: Sequence[int]


class Figures(NamedTuple):
    """What a budget has spent according to the ledger, by window, and its newest window."""

    budget: BudgetRule
    window: int
    spent: Mapping[int, int]


class Mend(NamedTuple):
    """A correction: raise what is spent to a floor, or lower it by a cut."""

    budget: BudgetRule
    window: int
    floor: int = 0
    cut: int = 0
    #: What must be spent for it to be made; -1: anything.
    expected: int = -1


class Store(Protocol):
    """Where limits and budgets are counted. All that is awaited may raise LimitsUnavailable."""

    #: Settlements whose hold had ended before.
    late: int

    async def admit(self, rules: Rules, lease: str, need: Need) -> Verdict:
        """Reserve in all limits and budgets or in none. An empty lease: only tell what it says."""

    async def extend(self, rules: Rules, lease: str, held: int, more: int) -> int:
        """Hold more in all budgets or in none: 1, 0 if one has no room, or UNKNOWN.

        An empty lease: only tell which.
        """

    def settle(self, rules: Rules, lease: str, end: Settlement) -> None:
        """Put what was used in place of what was reserved, and end the lease. Soon."""

    def renew(self, rules: Rules, lease: str, held: int) -> None:
        """Prolong the lease of a request that is still running. Soon."""

    async def look(self, rules: Rules) -> Look:
        """What is used of each."""

    async def claim(self, budgets: Sequence[BudgetRule], token: str) -> Claims:
        """Claim to build those that are unknown."""

    async def build(self, figures: Sequence[Figures], token: str) -> list[bool]:
        """Make claimed budgets known. False where the claim has passed to somebody else."""

    async def lock(self, token: str, seconds: float) -> bool:
        """Be the only one, of all processes, who compares. Again to prolong it."""

    async def mend(self, mends: Sequence[Mend], token: str) -> list[int]:
        """Correct budgets, as the one who compares. Returns by how much each moved."""

    async def close(self) -> None:
        """Send what is still to be sent, and let go."""


def slot_us(limit: Limit) -> int:
    """The length of one slot in microseconds, rounded up: 60 are never less than the window."""
    return -(-limit.window_s * 1_000_000 // SLOTS)


def whole_after_us(limit: Limit, newest: int, now_us: int) -> int:
    """How long until everything that is used has left the window."""
    return max((newest + RING) * slot_us(limit) - now_us, 0) if newest else 0


#: What the monotonic clock lacks to be the time of day, as it was when this process began.
DAYTIME_NS = time.time_ns() - time.monotonic_ns()


def steady_us() -> int:
    """The time of day in microseconds, from a clock that nobody sets."""
    return (DAYTIME_NS + time.monotonic_ns()) // 1000
