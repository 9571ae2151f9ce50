"""Counts of the last seconds, such as how many calls there were and how many of them failed."""

from __future__ import annotations

from collections import deque


class Window:
    """Two counts over the last `seconds`, kept second by second."""

    __slots__ = ("_each", "_seconds", "all", "some")

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        #: Second, how many in all, and how many of the kind that is counted apart.
        self._each: deque[tuple[int, list[int]]] = deque()
        self.all = 0
        self.some = 0

    def add(self, now: float, whole: int, part: int) -> None:
        """Count so many more in all, and of the kind that is counted apart."""
        second = int(now)
        if not self._each or self._each[-1][0] != second:
            self.slide(now)
            self._each.append((second, [0, 0]))
        counts = self._each[-1][1]
        counts[0] += whole
        counts[1] += part
        self.all += whole
        self.some += part

    def slide(self, now: float) -> Window:
        """Forget what is too old, and be up to date."""
        while self._each and self._each[0][0] <= now - self._seconds:
            whole, part = self._each.popleft()[1]
            self.all -= whole
            self.some -= part
        return self
