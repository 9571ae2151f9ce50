"""Why requests were not admitted is written down too, but a storm of them fills no disk.

So many are recorded per minute for each key and code, so many in all, and so many per day for
each key and in all. When a day's are used up, one an hour is recorded of each key and code. The
others are counted, and the next that is recorded tells how many they were.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from gateway import decision
from gateway.judgment import Judgment
from lib.errors import CourierError
from usage import recorder
from usage.records import Refusal

logger = logging.getLogger(__name__)

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
#: Of a key and code, and in all.
MOST_A_MINUTE = 10
MOST_IN_ALL = 600
#: Of a key, and in all.
MOST_A_DAY = 1_000
MOST_IN_ALL_A_DAY = 20_000
#: Keys and codes that are remembered.
MOST_KNOWN = 10_000

K = TypeVar("K")
V = TypeVar("V")


class Share:
    """So many in each span of time, which begins with the first."""

    __slots__ = ("_length_s", "_most", "_taken", "_until")

    def __init__(self, most: int, length_s: float) -> None:
        self._most = most
        self._length_s = length_s
        self._until = 0.0
        self._taken = 0

    def has_more(self, now: float) -> bool:
        return now >= self._until or self._taken < self._most

    def take(self, now: float) -> None:
        if now >= self._until:
            self._until, self._taken = now + self._length_s, 0
        self._taken += 1


@dataclass(slots=True)
class Kind:
    """The refusals of one key with one code."""

    minute: Share
    hour: Share
    unrecorded: int = 0


class Refusals:
    """Which refusals of this process are recorded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._minute = Share(MOST_IN_ALL, MINUTE_S)
        self._day = Share(MOST_IN_ALL_A_DAY, DAY_S)
        self._days: OrderedDict[int, Share] = OrderedDict()
        self._kinds: OrderedDict[tuple[int, str], Kind] = OrderedDict()

    def count(self, key_id: int, code: str) -> int | None:
        """How many like it were left out before it; None if it is to be left out as well."""
        now = self._clock()
        kind = _kept(
            self._kinds,
            (key_id, code),
            lambda: Kind(Share(MOST_A_MINUTE, MINUTE_S), Share(1, HOUR_S)),
        )
        day = _kept(self._days, key_id, lambda: Share(MOST_A_DAY, DAY_S))
        minutes, days = (kind.minute, self._minute), (day, self._day)
        if not _have_more(minutes, now) or not (_have_more(days, now) or kind.hour.has_more(now)):
            kind.unrecorded += 1
            return None
        for share in (*minutes, *days, kind.hour):
            share.take(now)
        unrecorded, kind.unrecorded = kind.unrecorded, 0
        return unrecorded


def _have_more(shares: Iterable[Share], now: float) -> bool:
    return all(share.has_more(now) for share in shares)


def _kept(known: OrderedDict[K, V], name: K, new: Callable[[], V]) -> V:
    """What is known by a name, for so many of them at most."""
    found = known.get(name)
    if found is None:
        found = known[name] = new()
        if len(known) > MOST_KNOWN:
            known.popitem(last=False)
    known.move_to_end(name)
    return found


refusals = Refusals()


def note(judgment: Judgment, error: CourierError) -> None:
    """Write down why a request is not admitted. Never the reason that it fails otherwise."""
    try:
        unrecorded = refusals.count(judgment.principal.key_id, error.code or "")
        if unrecorded is not None:
            recorder.refuse_request(_refusal(judgment, error, unrecorded))
    except Exception:
        logger.exception("why a request was refused could not be written down")


def _refusal(judgment: Judgment, error: CourierError, unrecorded: int) -> Refusal:
    principal, question = judgment.principal, judgment.question
    return Refusal(
        request_id=judgment.caller.request_id,
        refusal=error.code or "refused",
        status=error.status,
        key_id=principal.key_id,
        key_name=principal.key_name,
        team_id=principal.team_id,
        team_name=principal.team_name,
        operation=question.dialect.operation,
        model_asked=question.model,
        decision=decision.refused(judgment, error, unrecorded),
    )
