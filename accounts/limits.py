"""Requests, tokens and concurrency per window: the arithmetic, and the store of one process.

A window slides. It is a ring of slots: 60 make up the window, and one more is the oldest,
which has partly left it and is counted whole. So no stretch of time as long as the window
ever holds more than the amount, and a limit of 600 a minute admits exactly 600 at once.
The same arithmetic is in `accounts/lua/`, for the store that all processes share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from accounts.models import RateLimit
from accounts.principals import Limit

REQUESTS = RateLimit.Metric.REQUESTS.value
TOKENS = RateLimit.Metric.TOKENS.value
CONCURRENCY = RateLimit.Metric.CONCURRENCY.value

SLOTS = 60
RING = SLOTS + 1
#: A request whose process died gives its place back after this long.
LEASE_US = 60_000_000
#: When to come back where only another request's end can make room.
BUSY_US = 1_000_000


class Verdict(NamedTuple):
    """What a store says of one request. Per limit: what is used, and the newest slot in use."""

    #: The index of the limit that refuses for the longest, or -1: all are reserved.
    refused: int
    wait_us: int
    now_us: int
    used: Sequence[int]
    newest: Sequence[int]


class Look(NamedTuple):
    """What is used of each limit at one moment, and the newest slot in use (0: none)."""

    now_us: int
    used: Sequence[int]
    newest: Sequence[int]


Limits = tuple[Limit, ...]


class Store(Protocol):
    """Where limits are counted."""

    async def admit(self, limits: Limits, lease: str, tokens: int) -> Verdict:
        """Reserve in all limits or in none. Raises LimitsUnavailable."""

    def settle(self, limits: Limits, lease: str, slots: Sequence[int], difference: int) -> None:
        """Correct the tokens that were reserved in `slots`, and end the lease. Soon."""

    def renew(self, limits: Limits, lease: str) -> None:
        """Prolong the lease of a request that is still running. Soon."""

    async def look(self, limits: Limits) -> Look:
        """What is used of each limit. Raises LimitsUnavailable."""

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


class Window:
    """One limit on requests or tokens: a ring of slots and their total."""

    __slots__ = ("cells", "slot", "slot_us", "total")

    def __init__(self, slot_us: int) -> None:
        self.slot_us = slot_us
        self.slot = -RING
        self.total = 0
        self.cells = [0] * RING

    def turn(self, now_us: int) -> int:
        """Drop the slots that have left the window. Returns the present slot."""
        slot = now_us // self.slot_us
        for gone in range(max(self.slot, slot - RING) + 1, slot + 1):
            self.total -= self.cells[gone % RING]
            self.cells[gone % RING] = 0
        self.slot = max(slot, self.slot)
        return self.slot

    def add(self, slot: int, amount: int) -> None:
        self.cells[slot % RING] += amount
        self.total += amount

    def take_back(self, slot: int, amount: int) -> None:
        """Take from the slot where it was reserved, if that is still in the window."""
        if slot > self.slot - RING:
            self.add(slot, -min(self.cells[slot % RING], amount))

    def slots_in_use(self) -> list[int]:
        """The oldest first."""
        ring = range(self.slot - RING + 1, self.slot + 1)
        return [slot for slot in ring if self.cells[slot % RING]]

    def wait_us(self, excess: int, now_us: int) -> int:
        """When `excess` will have left the window."""
        for slot in self.slots_in_use():
            excess -= self.cells[slot % RING]
            if excess <= 0:
                return (slot + RING) * self.slot_us - now_us
        return (self.slot + RING) * self.slot_us - now_us


class Leases:
    """One limit on concurrency: who is running, and until when we believe it."""

    __slots__ = ("ends",)

    def __init__(self) -> None:
        self.ends: dict[str, int] = {}

    def count(self, now_us: int) -> int:
        """Those that run. The first to end is the first in the dict: all leases are as long."""
        while self.ends:
            lease, end = next(iter(self.ends.items()))
            if end > now_us:
                break
            del self.ends[lease]
        return len(self.ends)

    def take(self, lease: str, now_us: int) -> None:
        self.ends.pop(lease, None)
        self.ends[lease] = now_us + LEASE_US

    def drop(self, lease: str) -> None:
        self.ends.pop(lease, None)


Place = tuple[str, str, int]


class LocalStore:
    """Limits of a single process. Nothing here awaits, so each call is one step."""

    def __init__(self, now_us: Callable[[], int] = steady_us) -> None:
        self._now_us = now_us
        self._windows: dict[Place, Window] = {}
        self._leases: dict[Place, Leases] = {}

    async def admit(self, limits: Limits, lease: str, tokens: int) -> Verdict:
        now_us = self._now_us()
        used = [self._used(limit, now_us) for limit in limits]
        needs = [tokens if limit.metric == TOKENS else 1 for limit in limits]
        after = [one + need for one, need in zip(used, needs, strict=True)]
        waits = [
            self._wait_us(limit, total - limit.amount, now_us)
            for limit, total in zip(limits, after, strict=True)
        ]
        longest = max(waits, default=-1)
        if longest >= 0:
            newest = [self._newest(limit) for limit in limits]
            return Verdict(waits.index(longest), longest, now_us, used, newest)
        slots = [
            self._reserve(limit, lease, need, now_us)
            for limit, need in zip(limits, needs, strict=True)
        ]
        return Verdict(-1, -1, now_us, after, slots)

    def settle(self, limits: Limits, lease: str, slots: Sequence[int], difference: int) -> None:
        now_us = self._now_us()
        for limit, slot in zip(limits, slots, strict=True):
            if limit.metric == CONCURRENCY:
                self._leases_of(limit).drop(lease)
            elif limit.metric == TOKENS:
                self._correct(self._window_of(limit), slot, difference, now_us)

    def renew(self, limits: Limits, lease: str) -> None:
        for limit in limits:
            if limit.metric == CONCURRENCY:
                self._leases_of(limit).take(lease, self._now_us())

    async def look(self, limits: Limits) -> Look:
        now_us = self._now_us()
        used = [self._used(limit, now_us) for limit in limits]
        return Look(now_us, used, [self._newest(limit) for limit in limits])

    async def close(self) -> None:
        self._windows.clear()
        self._leases.clear()

    def _used(self, limit: Limit, now_us: int) -> int:
        if limit.metric == CONCURRENCY:
            return self._leases_of(limit).count(now_us)
        window = self._window_of(limit)
        window.turn(now_us)
        return window.total

    def _newest(self, limit: Limit) -> int:
        if limit.metric == CONCURRENCY:
            return 0
        return max(self._window_of(limit).slots_in_use(), default=0)

    def _wait_us(self, limit: Limit, excess: int, now_us: int) -> int:
        """How long the limit refuses; -1 if it does not."""
        if excess <= 0:
            return -1
        if limit.metric == CONCURRENCY:
            return BUSY_US
        return self._window_of(limit).wait_us(excess, now_us)

    def _reserve(self, limit: Limit, lease: str, need: int, now_us: int) -> int:
        if limit.metric == CONCURRENCY:
            self._leases_of(limit).take(lease, now_us)
            return 0
        window = self._window_of(limit)
        window.add(window.slot, need)
        return window.slot

    @staticmethod
    def _correct(window: Window, slot: int, difference: int, now_us: int) -> None:
        present = window.turn(now_us)
        if difference > 0:
            window.add(present, difference)
        else:
            window.take_back(slot, -difference)

    def _window_of(self, limit: Limit) -> Window:
        place = (limit.scope, limit.metric, limit.window_s)
        window = self._windows.get(place)
        if window is None:
            window = self._windows[place] = Window(slot_us(limit))
        return window

    def _leases_of(self, limit: Limit) -> Leases:
        place = (limit.scope, limit.metric, limit.window_s)
        leases = self._leases.get(place)
        if leases is None:
            leases = self._leases[place] = Leases()
        return leases
