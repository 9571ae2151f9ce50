"""Limits and budgets as one process counts them for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accounts.limits import (
    BUSY_US,
    CONCURRENCY,
    LEASE_US,
    RESERVED,
    RING,
    TOKENS,
    UNKNOWN,
    Claims,
    Figures,
    Look,
    Mend,
    Settlement,
    Verdict,
    slot_us,
    steady_us,
)
from accounts.purses import Purse
from accounts.rules import BudgetRule, Limit, Need, Rules


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


Place = tuple[str, str, int, str]


class LocalStore:
    """Limits and budgets of a single process. Nothing here awaits, so each call is one step."""

    def __init__(self, now_us: Callable[[], int] = steady_us) -> None:
        self._now_us = now_us
        self._windows: dict[Place, Window] = {}
        self._leases: dict[Place, Leases] = {}
        self._purses: dict[str, Purse] = {}
        #: Settlements whose hold had ended before.
        self.late = 0

    async def admit(self, rules: Rules, lease: str, need: Need) -> Verdict:
        now_us = self._now_us()
        limits = rules.limits
        used = [self._used(limit, now_us) for limit in limits]
        purses = self._open_purses(rules, now_us)
        amounts = [budget.amount_at(now_us) for budget in rules.budgets]
        refused, wait_us = self._refusal(rules, need, used, now_us)
        if refused == RESERVED:
            newest = [self._reserve(limit, lease, need, now_us) for limit in limits]
            used = [one + need.of(limit.metric) for one, limit in zip(used, limits, strict=True)]
            reserved = [one.reserved + need.cost_nano for one in purses]
            for purse in purses if lease else ():
                purse.hold(lease, need.cost_nano, now_us)
        else:
            newest = [self._newest(limit) for limit in limits]
            reserved = [one.reserved for one in purses]
        spent = [one.spent for one in purses]
        windows = [one.window for one in purses]
        return Verdict(refused, wait_us, now_us, used, newest, spent, reserved, windows, amounts)

    async def extend(self, rules: Rules, lease: str, held: int, more: int) -> int:
        now_us = self._now_us()
        purses = self._open_purses(rules, now_us)
        if not all(purse.is_known for purse in purses):
            return UNKNOWN
        for budget, purse in zip(rules.budgets, purses, strict=True):
            whole = purse.spent + purse.reserved - purse.held(lease) + held + more
            if budget.hard and whole > budget.amount_at(now_us):
                return 0
        for purse in purses if lease else ():
            purse.hold(lease, held + more, now_us)
        return 1

    def settle(self, rules: Rules, lease: str, end: Settlement) -> None:
        now_us = self._now_us()
        for limit, slot in zip(rules.limits, end.slots, strict=True):
            if limit.metric == CONCURRENCY:
                self._leases_of(limit).drop(lease)
            elif limit.metric in TOKENS:
                difference = end.used.of(limit.metric) - end.reserved.of(limit.metric)
                self._correct(self._window_of(limit), slot, difference, now_us)
        for budget, window in zip(rules.budgets, end.windows, strict=True):
            self._spend(self._purse_of(budget), lease, window, end.used.cost_nano)

    def renew(self, rules: Rules, lease: str, held: int) -> None:
        now_us = self._now_us()
        for limit in rules.limits:
            if limit.metric == CONCURRENCY:
                self._leases_of(limit).take(lease, now_us)
        for budget in rules.budgets:
            purse = self._purse_of(budget)
            purse.hold(lease, max(held, purse.held(lease)), now_us)

    async def look(self, rules: Rules) -> Look:
        now_us = self._now_us()
        used = [self._used(limit, now_us) for limit in rules.limits]
        purses = self._open_purses(rules, now_us)
        return Look(
            now_us,
            used,
            [self._newest(limit) for limit in rules.limits],
            [purse.spent if purse.is_known else -1 for purse in purses],
            [purse.reserved for purse in purses],
            [purse.window for purse in purses],
            [budget.amount_at(now_us) for budget in rules.budgets],
        )

    async def claim(self, budgets: Sequence[BudgetRule], token: str) -> Claims:
        now_us = self._now_us()
        return Claims(now_us, [self._purse_of(one).claim(token, now_us) for one in budgets])

    async def build(self, figures: Sequence[Figures], token: str) -> list[bool]:
        return [
            self._purse_of(one.budget).build(token, one.window, dict(one.spent)) for one in figures
        ]

    async def lock(self, token: str, seconds: float) -> bool:
        return True

    async def mend(self, mends: Sequence[Mend], token: str) -> list[int]:
        return [
            self._purse_of(one.budget).mend(
                one.window, floor=one.floor, cut=one.cut, expected=one.expected
            )
            for one in mends
        ]

    def forget_budgets(self) -> None:
        """Make all budgets unknown."""
        self._purses.clear()

    def purse(self, budget: BudgetRule) -> Purse | None:
        """What is known of a budget, as it was when somebody last used it."""
        return self._purses.get(budget.place)

    async def close(self) -> None:
        self._windows.clear()
        self._leases.clear()
        self._purses.clear()

    def _refusal(
        self, rules: Rules, need: Need, used: Sequence[int], now_us: int
    ) -> tuple[int, int]:
        """What refuses, and for how long. Purses are open."""
        purses = [self._purse_of(budget) for budget in rules.budgets]
        if not all(purse.is_known for purse in purses):
            return UNKNOWN, BUSY_US
        waits = [
            self._wait_us(limit, one + need.of(limit.metric) - limit.amount, now_us)
            for limit, one in zip(rules.limits, used, strict=True)
        ]
        tightest, least = -1, 0
        for index, (budget, purse) in enumerate(zip(rules.budgets, purses, strict=True)):
            left = budget.amount_at(now_us) - purse.spent
            is_full = budget.hard and need.cost_nano > max(left - purse.reserved, 0)
            is_exhausted = is_full and need.cost_nano > left
            waits.append(BUSY_US if is_full and not is_exhausted else -1)
            if is_exhausted and (tightest < 0 or left < least):
                tightest, least = index, left
        if tightest >= 0:
            bounds = rules.bounds(now_us)[tightest]
            wait_us = purses[tightest].wait_us(need.cost_nano - least, bounds, now_us)
            return len(rules.limits) + tightest, wait_us
        longest = max(waits, default=-1)
        return (waits.index(longest), longest) if longest >= 0 else (RESERVED, -1)

    def _open_purses(self, rules: Rules, now_us: int) -> list[Purse]:
        purses = [self._purse_of(budget) for budget in rules.budgets]
        for purse, bounds in zip(purses, rules.bounds(now_us), strict=True):
            purse.open(bounds, now_us)
        return purses

    def _spend(self, purse: Purse, lease: str, window: int, cost_nano: int) -> None:
        was_held = purse.end_hold(lease)
        if cost_nano > 0:
            self.late += not was_held
            purse.spend(window, cost_nano)

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

    def _reserve(self, limit: Limit, lease: str, need: Need, now_us: int) -> int:
        """Returns the slot that it is in."""
        if limit.metric == CONCURRENCY:
            if lease:
                self._leases_of(limit).take(lease, now_us)
            return 0
        window = self._window_of(limit)
        if lease:
            window.add(window.slot, need.of(limit.metric))
        return window.slot

    @staticmethod
    def _correct(window: Window, slot: int, difference: int, now_us: int) -> None:
        present = window.turn(now_us)
        if difference > 0:
            window.add(present, difference)
        else:
            window.take_back(slot, -difference)

    def _window_of(self, limit: Limit) -> Window:
        place = (limit.scope, limit.metric, limit.window_s, limit.model)
        window = self._windows.get(place)
        if window is None:
            window = self._windows[place] = Window(slot_us(limit))
        return window

    def _leases_of(self, limit: Limit) -> Leases:
        place = (limit.scope, limit.metric, limit.window_s, limit.model)
        leases = self._leases.get(place)
        if leases is None:
            leases = self._leases[place] = Leases()
        return leases

    def _purse_of(self, budget: BudgetRule) -> Purse:
        purse = self._purses.get(budget.place)
        if purse is None:
            purse = self._purses[budget.place] = Purse(budget.ring)
        return purse
