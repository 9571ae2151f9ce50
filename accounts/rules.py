"""What a caller has to keep to, in memory: limits per window and budgets per period."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from accounts.periods import FOREVER_US, Bounds, always, bounds_of, from_us

HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """One rate limit in memory."""

    id: int
    #: "key:7", "team:3" or "user:2": also a part of the store's key.
    scope: str
    metric: str
    window_s: int
    amount: int
    #: A pattern of served models, all of which count together. Empty: all requests count.
    model: str = ""


class Raise(NamedTuple):
    """So many nano-dollars more, from one microsecond to another."""

    starts_us: int
    ends_us: int
    extra_nano: int


class Ring(NamedTuple):
    """A rolling window in slots: so many make it up, and one more has partly left it.

    Slots are whole hours, so that the sums of hours tell what was spent in each.
    """

    slot_us: int
    slots: int

    @property
    def kept(self) -> int:
        return self.slots + 1


ROLLING = {
    "day": Ring(HOUR_US, 24),
    "week": Ring(3 * HOUR_US, 56),
    "month": Ring(12 * HOUR_US, 60),
}
#: A calendar window, or the only one, has no slots.
NO_RING = Ring(0, 0)


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """One budget in memory. Money is in nano-dollars, moments are in microseconds."""

    id: int
    scope: str
    #: Where it is counted. Another period, window, time zone or beginning is another place,
    #: which the store does not know; another amount is not.
    place: str
    amount_nano: int
    raises: tuple[Raise, ...]
    hard: bool
    period: str
    time_zone: str
    ring: Ring
    counts_from_us: int

    def amount_at(self, now_us: int) -> int:
        """The amount with the raises that are in force."""
        extra = sum(r.extra_nano for r in self.raises if r.starts_us <= now_us < r.ends_us)
        return self.amount_nano + extra

    def bounds_at(self, now_us: int) -> Bounds:
        """Its windows around a moment; of a rolling budget none."""
        if self.ring.slot_us:
            return Bounds(0, 0, 0, 0)
        if self.period == "total":
            return always(self.counts_from_us)
        return bounds_of(self.period, self.time_zone, now_us)

    def window_at(self, now_us: int) -> int:
        """The window of a moment: its beginning, or its slot in a rolling one."""
        if self.ring.slot_us:
            return now_us // self.ring.slot_us
        return self.bounds_at(now_us).window(now_us)[0]

    def span_of(self, window: int) -> tuple[datetime, datetime]:
        """From when to when what was spent counts in the window, if that is the newest."""
        if self.ring.slot_us:
            begin = (window - self.ring.slots) * self.ring.slot_us
            end = (window + 1) * self.ring.slot_us
        else:
            begin, end = self.bounds_at(window).window(window)
        begin = max(begin, self.counts_from_us)
        return from_us(begin), from_us(max(end, begin))


def place_of(budget_id: int, scope: str, *counted: Any) -> str:
    """A place that is another one as soon as anything about what is counted is."""
    digest = hashlib.sha256(repr(counted).encode()).hexdigest()[:12]
    return f"{budget_id}:{scope}:{digest}"


class Need(NamedTuple):
    """What one request may use at most, as far as anyone can tell before it."""

    input_tokens: int
    output_tokens: int
    cost_nano: int
    #: More than one only where a request becomes several for whom the limit protects.
    requests: int = 1

    def of(self, metric: str) -> int:
        """What it takes of a limit on this metric."""
        if metric == "tokens":
            return self.input_tokens + self.output_tokens
        if metric == "input_tokens":
            return self.input_tokens
        if metric == "output_tokens":
            return self.output_tokens
        return self.requests if metric == "requests" else 1


class Rules:
    """All that one caller has to keep to in requests for one model. Compared by identity."""

    __slots__ = (
        "_bounds",
        "_valid_from_us",
        "_valid_until_us",
        "budgets",
        "limits",
        "packed",
        "share",
    )

    def __init__(self, limits: tuple[Limit, ...], budgets: tuple[BudgetRule, ...] = ()) -> None:
        self.limits = limits
        self.budgets = budgets
        #: What a store has packed of these rules to send, as long as the bounds hold.
        self.packed: Any = None
        #: Of how many replicas, and what one of them may let through by itself.
        self.share: tuple[int, Rules] | None = None
        self._bounds: tuple[Bounds, ...] = ()
        self._valid_from_us = self._valid_until_us = 0

    @property
    def is_empty(self) -> bool:
        return not self.limits and not self.budgets

    @property
    def is_leased(self) -> bool:
        """Whether a request holds something that ends by itself unless it is renewed."""
        return bool(self.budgets) or any(limit.metric == "concurrency" for limit in self.limits)

    def bounds(self, now_us: int) -> tuple[Bounds, ...]:
        """The windows of all budgets, made anew only when one of them has passed."""
        if not self._valid_from_us <= now_us < self._valid_until_us:
            self._bounds = tuple(budget.bounds_at(now_us) for budget in self.budgets)
            calendar = [bounds for bounds in self._bounds if bounds.end]
            self._valid_from_us = max((bounds.present for bounds in calendar), default=0)
            self._valid_until_us = min((bounds.next for bounds in calendar), default=FOREVER_US)
            self.packed = None
        return self._bounds
