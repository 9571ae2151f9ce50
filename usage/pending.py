"""What this process has written down and its shipper has not yet brought to the database."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import orjson

from usage.records import Attempt, Record
from usage.spool import Segment

#: Days begin at a quarter of an hour in every time zone there is.
QUARTER_MS = 900_000
MILLISECONDS_FROM = 80
#: So many entries are looked through for those that are shipped, or can be one: a database may be
#: away for long.
MANY = 5_000


#: By kind of scope, whom something counts for: a key, a team, a user, an upstream key.
KINDS = ("key", "team", "user", "upstream")
Holders = tuple[int | None, int | None, int | None, int | None]


class Closed(NamedTuple):
    """One closed request, or an attempt of it, and where in the spool it ends."""

    segment: Segment
    end: int
    quarter: int
    holders: Holders
    cost_nano: int


class Unshipped(NamedTuple):
    """What some requests of one key cost, all shipped once the spool is up to `end`."""

    segment: Segment
    end: int
    entries: tuple[str, ...]
    cost_nano: int

    @property
    def is_shipped(self) -> bool:
        return self.segment.shipped >= self.end


class Pending:
    """What was spent and is not in the ledger, by scope and by quarter of an hour in UTC.

    An entry such as "team:3@1988888" may still be counted a moment after it has come to the
    ledger, but is never missing before.
    """

    def __init__(self) -> None:
        self._new: deque[Closed] = deque()
        self._unshipped: deque[Unshipped] = deque()
        self._sums: dict[str, int] = {}
        self._merge_at = MANY

    def add(self, record: Record, segment: Segment) -> None:
        """Called for every request: a tuple for it and each paid attempt, and rarely more."""
        quarter = (record.request_id.int >> MILLISECONDS_FROM) // QUARTER_MS
        if record.cost_nano:
            holders = (record.key_id, record.team_id, record.user_id, None)
            self._new.append(Closed(segment, segment.written, quarter, holders, record.cost_nano))
        for one in record.tries:
            # A record is written down whatever stands in it.
            is_one = isinstance(one, Attempt)
            if is_one and one.cost_nano and one.upstream_key_id:
                by_key = (None, None, None, one.upstream_key_id)
                self._new.append(Closed(segment, segment.written, quarter, by_key, one.cost_nano))
        # Where no budget is, and no other process, nobody else ever asks.
        if len(self._new) > MANY:
            self.sums()

    def sums(self) -> dict[str, int]:
        """What is pending now."""
        for one in self._taken():
            self._unshipped.append(one)
            for entry in one.entries:
                self._sums[entry] = self._sums.get(entry, 0) + one.cost_nano
        while self._unshipped and self._unshipped[0].is_shipped:
            self._forget(self._unshipped.popleft())
        if len(self._unshipped) > self._merge_at:
            self._merge()
        return self._sums

    def told(self) -> str:
        return orjson.dumps(self.sums()).decode()

    def _taken(self) -> Iterator[Unshipped]:
        """The new ones, those of one key and segment together."""
        together: dict[tuple[int, int, Holders], list[Closed]] = {}
        while self._new:
            one = self._new.popleft()
            if one.segment.shipped >= one.end:
                continue
            together.setdefault((id(one.segment), one.quarter, one.holders), []).append(one)
        for some in together.values():
            last = some[-1]
            cost_nano = sum(one.cost_nano for one in some)
            yield Unshipped(last.segment, last.end, _entries(last), cost_nano)

    def _merge(self) -> None:
        """One entry for what a key spent in one segment: it counts until all of it is shipped."""
        together: dict[tuple[int, tuple[str, ...]], Unshipped] = {}
        for one in self._unshipped:
            former = together.pop((id(one.segment), one.entries), None)
            cost_nano = one.cost_nano + (former.cost_nano if former else 0)
            together[id(one.segment), one.entries] = one._replace(cost_nano=cost_nano)
        self._unshipped = deque(together.values())
        self._merge_at = max(MANY, 2 * len(self._unshipped))

    def _forget(self, one: Unshipped) -> None:
        for entry in one.entries:
            self._sums[entry] -= one.cost_nano
            if not self._sums[entry]:
                del self._sums[entry]


def _entries(closed: Closed) -> tuple[str, ...]:
    held = zip(KINDS, closed.holders, strict=True)
    return tuple(f"{kind}:{number}@{closed.quarter}" for kind, number in held if number)
