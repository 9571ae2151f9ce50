"""What one budget has spent and holds, in the memory of one process.

The same arithmetic is in `accounts/lua/budgets.lua`, where it is explained.
"""

from __future__ import annotations

from accounts.periods import FOREVER_US, Bounds
from accounts.rules import Ring

#: A request whose process died gives back what it holds after this long.
HOLD_US = 120_000_000
BUILD_US = 5_000_000


class Hold:
    """What one running request holds, and until when we believe that it runs."""

    __slots__ = ("amount", "end")

    def __init__(self, amount: int, end: int) -> None:
        self.amount = amount
        self.end = end


class Purse:
    """One budget. Unknown, which is not zero, until it is built."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self.window = -1
        self.spent = 0
        self.previous = -1
        self.previous_spent = 0
        self.reserved = 0
        self._slots: dict[int, int] = {}
        #: By lease. The first to end is the first: all leases are as long.
        self._holds: dict[str, Hold] = {}
        #: What was settled while the rest was unknown, by window.
        self._early: dict[int, int] = {}
        self._builder = ""
        self._builder_until = 0

    @property
    def is_known(self) -> bool:
        return self.window >= 0

    def open(self, bounds: Bounds, now_us: int) -> None:
        """Drop what has ended, and turn to the present window."""
        while self._holds:
            lease, hold = next(iter(self._holds.items()))
            if hold.end > now_us:
                break
            self.end_hold(lease)
        if self.is_known:
            self._turn_to(self._window_of(bounds, now_us))

    def _window_of(self, bounds: Bounds, now_us: int) -> int:
        if self._ring.slot_us:
            return now_us // self._ring.slot_us
        return bounds.window(now_us)[0]

    def _turn_to(self, window: int) -> None:
        # A clock that goes back stays in the newest window, so that nothing is forgotten.
        if window <= self.window:
            return
        if self._ring.slot_us:
            for slot in [one for one in self._slots if one <= window - self._ring.kept]:
                self.spent -= self._slots.pop(slot)
        else:
            self.previous, self.previous_spent = self.window, self.spent
            self.spent = 0
        self.window = window

    def hold(self, lease: str, amount: int, now_us: int) -> None:
        """Take the lease, or prolong it. `amount` is what it holds in all from now on."""
        former = self._holds.pop(lease, None)
        self.reserved += amount - (former.amount if former else 0)
        self._holds[lease] = Hold(amount, now_us + HOLD_US)

    def held(self, lease: str) -> int:
        hold = self._holds.get(lease)
        return hold.amount if hold else 0

    def end_hold(self, lease: str) -> bool:
        """Whether there still was one."""
        hold = self._holds.pop(lease, None)
        if hold is not None:
            self.reserved -= hold.amount
        return hold is not None

    def spend(self, window: int, amount: int) -> None:
        """Count what was spent by a request that was admitted in `window`."""
        if not self.is_known:
            self._early[window] = self._early.get(window, 0) + amount
        elif self._ring.slot_us:
            if window > self.window - self._ring.kept:
                self._add(min(window, self.window), amount)
        elif window >= self.window:
            self.spent += amount
        elif window == self.previous:
            self.previous_spent += amount

    def _add(self, slot: int, amount: int) -> None:
        self._slots[slot] = self._slots.get(slot, 0) + amount
        self.spent += amount

    def wait_us(self, excess: int, bounds: Bounds, now_us: int) -> int:
        """When it is open again, from now; 0 if never."""
        if not self._ring.slot_us:
            end = bounds.window(now_us)[1]
            return max(end - now_us, 1) if end < FOREVER_US else 0
        for slot in sorted(self._slots):
            excess -= self._slots[slot]
            if excess <= 0:
                return (slot + self._ring.kept) * self._ring.slot_us - now_us
        return (self.window + self._ring.kept) * self._ring.slot_us - now_us

    def claim(self, token: str, now_us: int) -> int:
        """0 if it is known, 1 if it is the asker's to build, 2 if somebody else builds it."""
        if self.is_known:
            return 0
        if now_us < self._builder_until:
            return 2
        self._early.clear()
        self._builder, self._builder_until = token, now_us + BUILD_US
        return 1

    def build(self, token: str, window: int, figures: dict[int, int]) -> bool:
        """Make it known: what the ledger has, and what was settled since it was claimed."""
        if token != self._builder:
            return False
        self._builder, self._builder_until = "", 0
        self.window, self.spent = window, 0
        for slot, amount in figures.items():
            whole = amount + self._early.pop(slot, 0)
            self.spent += whole
            if self._ring.slot_us and whole:
                self._slots[slot] = whole
        return True

    def mend(self, window: int, *, floor: int, cut: int, expected: int) -> int:
        """Raise what is spent to `floor`, or lower it by `cut`. Returns by how much it moved."""
        if not self.is_known or window != self.window or expected not in (-1, self.spent):
            return 0
        if cut:
            return -self._lower(min(cut, self.spent))
        more = max(floor - self.spent, 0)
        if self._ring.slot_us:
            self._add(self.window, more)
        else:
            self.spent += more
        return more

    def _lower(self, amount: int) -> int:
        if not self._ring.slot_us:
            self.spent -= amount
            return amount
        left = amount
        for slot in sorted(self._slots, reverse=True):
            part = min(left, self._slots[slot])
            self._add(slot, -part)
            left -= part
        return amount - left
