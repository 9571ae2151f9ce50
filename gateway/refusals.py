"""Why requests were not admitted is written down too, but a storm of them fills no disk.

So many are recorded per minute for each key and code, and so many in all. The others are
counted, and the next that is recorded tells how many they were.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gateway import decision
from gateway.judgment import Judgment
from lib.errors import CourierError
from usage import recorder
from usage.records import Refusal

logger = logging.getLogger(__name__)

MOST_A_MINUTE = 10
MOST_IN_ALL = 600
MINUTE_S = 60.0
#: Keys and codes that are remembered.
MOST_KNOWN = 10_000


@dataclass(slots=True)
class Tally:
    """How many refusals of one kind there were since a minute began."""

    began_at: float
    recorded: int = 0
    unrecorded: int = 0

    def turn(self, now: float) -> None:
        if now - self.began_at >= MINUTE_S:
            self.began_at, self.recorded = now, 0


class Refusals:
    """Which refusals of this process are recorded."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all = Tally(clock())
        self._kinds: OrderedDict[tuple[int, str], Tally] = OrderedDict()

    def count(self, key_id: int, code: str) -> int | None:
        """How many like it were left out before it; None if it is to be left out as well."""
        now = self._clock()
        tally = self._tally(key_id, code, now)
        self._all.turn(now)
        tally.turn(now)
        if tally.recorded >= MOST_A_MINUTE or self._all.recorded >= MOST_IN_ALL:
            tally.unrecorded += 1
            return None
        tally.recorded += 1
        self._all.recorded += 1
        unrecorded, tally.unrecorded = tally.unrecorded, 0
        return unrecorded

    def _tally(self, key_id: int, code: str, now: float) -> Tally:
        tally = self._kinds.setdefault((key_id, code), Tally(now))
        self._kinds.move_to_end((key_id, code))
        if len(self._kinds) > MOST_KNOWN:
            self._kinds.popitem(last=False)
        return tally


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
