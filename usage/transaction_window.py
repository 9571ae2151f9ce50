"""Roll-ups on PostgreSQL: each takes the rows of the transactions that ended since the last.

A snapshot's xmin is the oldest transaction that still runs, so whatever was written below it
can be seen, and nothing will be added there. Between two such marks lies a window of rows
that are counted exactly once. Under REPEATABLE READ all statements see the same, and of two
workers at one mark the second fails and tries again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from psycopg.errors import SerializationFailure

from lib.ids import lowest_at
from usage import sums
from usage.models import RollupMark
from usage.sums import SHEETS, Sheet

logger = logging.getLogger(__name__)

T = TypeVar("T")

TRIES = 10
#: A transaction of Courier's own takes no minute.
OVERDUE_S = 60
FORGOTTEN_S = 5 * 60
MARK = 1
#: Below all transaction ids that PostgreSQL gives.
SETTLED = 3
LOG = ("usage_usagerecord", "usage_usageattempt", "usage_usageadjustment")

REPEATABLE_READ = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
#: So that grouping a long log needs no files. Only until the transaction ends.
ROOM = "SET LOCAL work_mem = '64MB'"
LOOK = """
SELECT upto, cluster, pg_snapshot_xmin(now_at)::text::bigint, pg_snapshot_xmax(now_at)::text::bigint
FROM usage_rollupmark, pg_current_snapshot() AS now_at WHERE id = 1
"""
TAKE = f"{LOOK} FOR UPDATE OF usage_rollupmark"
TAKE_IF_FREE = f"{TAKE} SKIP LOCKED"
MOVE = """
UPDATE usage_rollupmark SET upto = %(hi)s, cluster = %(cluster)s, at = clock_timestamp()
WHERE id = 1
"""
MAY_KNOW_CLUSTER = "SELECT has_function_privilege('pg_control_system()', 'execute')"
CLUSTER = "SELECT system_identifier::text FROM pg_control_system()"

#: Which rows of the log are meant: those of a window of transactions, in a span of ids.
WINDOW = (
    "x >= %(lo)s::xid8 AND x < %(hi)s::xid8 "
    "AND request_id >= %(low)s::uuid AND request_id < %(high)s::uuid"
)
#: The first 48 bits of an id are its milliseconds.
_MS = "('x' || substr(request_id::text, 1, 8) || substr(request_id::text, 10, 4))::bit(48)::bigint"
_HOUR = f"to_timestamp({_MS} / 3600000 * 3600)"
PERIODS = {"hour": _HOUR, "day": f"({_HOUR} AT TIME ZONE 'UTC')::date"}
WHOLE_LOG = {"low": UUID(int=0), "high": UUID(int=2**128 - 1)}


def _source(sheet: Sheet) -> str:
    if sheet is sums.ATTEMPTS:
        return f"({sums.attempts(WINDOW)}) AS attempt"
    events = f"({sums.events(WINDOW)}) AS event"
    if not sheet.has_tags:
        return events
    return (
        f"(SELECT event.*, left(label, 36) AS tag FROM {events}, "  # noqa: S608  # constants
        "unnest(string_to_array(tags, ',')) AS label) AS labeled"
    )


#: What the log says of each sheet, and how it is added.
TOLD = {sheet.table: sheet.summed(PERIODS[sheet.period], _source(sheet)) for sheet in SHEETS}
ADD = [f"{sheet.insert(TOLD[sheet.table])} {sheet.add}" for sheet in SHEETS]


#: A mark that stands still although transactions came and went after it. Whose transaction it
#: is can be seen only by those who may.
HELD = """
SELECT mark.at, (
  SELECT pid FROM pg_stat_activity
  WHERE backend_xid::text::bigint = pg_snapshot_xmin(now_at)::text::bigint %% 4294967296 LIMIT 1
)
FROM usage_rollupmark AS mark, pg_current_snapshot() AS now_at
WHERE id = 1 AND upto > 0 AND at < clock_timestamp() - make_interval(secs => %(overdue_s)s)
  AND pg_snapshot_xmin(now_at)::text::bigint <= upto
  AND pg_snapshot_xmax(now_at)::text::bigint > upto + 1
"""


class Hold(NamedTuple):
    """A transaction that holds roll-ups back, and the server process that has it, if known."""

    since: datetime
    process: int | None


class Mark(NamedTuple):
    """The mark as one snapshot sees it, and the transactions of that snapshot."""

    upto: int
    cluster: str
    #: The oldest transaction that still runs, and the next that will be begun.
    xmin: int
    xmax: int


def roll_up() -> int:
    """Add what was written since the last time. Returns how many hourly rows that changed."""
    _make_sure_of_mark()
    return _insisting(_add_new)


def make_anew(start: datetime, end: datetime) -> None:
    """Replace the sums from one midnight up to another by what the log says."""
    _make_sure_of_mark()
    _insisting(lambda: _make_anew(start, end))


def consistently(read: Callable[[int], T]) -> T:
    """What `read`, which is told how far the sums reach, makes of sums and log together.

    Sums and mark move together: where the mark stands still, one statement fits it.
    """
    for _ in range(TRIES):
        mark = usable_mark()
        found = read(mark)
        if usable_mark() == mark:
            return found
    raise RuntimeError("The roll-ups moved on all the while. Ask again.")


def held_back() -> Hold | None:
    """The transaction that keeps the mark where it is, if it has done so for too long."""
    with connection.cursor() as cursor:
        cursor.execute(HELD, {"overdue_s": OVERDUE_S})
        found = cursor.fetchone()
    return Hold(*found) if found else None


def is_left_behind() -> bool:
    """Whether nobody has rolled up for long although there was something to add."""
    mark = RollupMark.objects.filter(pk=MARK).first()
    if mark is None or (timezone.now() - mark.at).total_seconds() < FORGOTTEN_S:
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM usage_usagerecord WHERE x >= %s::xid8)", [str(mark.upto)]
        )
        return bool(cursor.fetchone()[0])


@contextmanager
def snapshot() -> Iterator[int]:
    """All that is read inside is of one moment. Gives how far the sums reach there."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(REPEATABLE_READ)
        yield usable_mark()


def told(sheet: Sheet, start: datetime, end: datetime, upto: int) -> list[tuple[Any, ...]]:
    """The rows that a sheet should have in a span, by the log as far as it was rolled up."""
    span: dict[str, Any] = {
        "lo": "0",
        "hi": str(upto),
        "low": lowest_at(start),
        "high": lowest_at(end),
    }
    with connection.cursor() as cursor:
        cursor.execute(TOLD[sheet.table], span)
        return list(cursor.fetchall())


def look() -> Mark | None:
    """The mark now, for those who only read. None: nothing was ever rolled up."""
    with connection.cursor() as cursor:
        cursor.execute(LOOK)
        found = cursor.fetchone()
    return Mark(*found) if found and found[0] else None


def usable_mark() -> int:
    """Everything that transactions below it wrote is in the sums. 0: the sums tell nothing."""
    mark = look()
    return mark.upto if mark and mark.upto <= mark.xmax else 0


def is_of_another_cluster(mark: Mark) -> bool:
    """Whether the log was restored or copied here, where its transaction ids mean nothing."""
    here = this_cluster()
    return mark.upto > mark.xmax or bool(here and mark.cluster and mark.cluster != here)


def this_cluster() -> str:
    """What tells this cluster from all others. Empty where we may not know."""
    with connection.cursor() as cursor:
        cursor.execute(MAY_KNOW_CLUSTER)
        if not cursor.fetchone()[0]:
            return ""
        cursor.execute(CLUSTER)
        return str(cursor.fetchone()[0])


def _make_sure_of_mark() -> None:
    RollupMark.objects.get_or_create(pk=MARK)
    mark = look()
    if mark is not None and is_of_another_cluster(mark):
        logger.error("the log was restored from another cluster: all sums are made anew")
        start_over()


def start_over() -> None:
    """Count all rows of the log as of long ago, and the sums as never made."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        for table in LOG:
            # The log refuses updates. A column with a default takes no time, however long it is.
            cursor.execute(f"ALTER TABLE {table} DROP COLUMN x")
            cursor.execute(f"ALTER TABLE {table} ADD COLUMN x xid8 NOT NULL DEFAULT '{SETTLED}'")
            cursor.execute(f"ALTER TABLE {table} ALTER COLUMN x SET DEFAULT pg_current_xact_id()")
            cursor.execute(f"CREATE INDEX {table}_x ON {table} (x)")
        cursor.execute("UPDATE usage_rollupmark SET upto = 0, cluster = ''")


def _insisting(work: Callable[[], T]) -> T:
    """Do it, again if another worker was faster."""
    for _ in range(TRIES - 1):
        try:
            return work()
        except OperationalError as error:
            if not isinstance(error.__cause__, SerializationFailure):
                raise
    return work()


def _add_new() -> int:
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        mark = _take(cursor, TAKE_IF_FREE)
        return _bring_up_to_date(cursor, mark) if mark else 0


def _make_anew(start: datetime, end: datetime) -> None:
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        mark = _take(cursor, TAKE)
        if mark:
            _bring_up_to_date(cursor, mark)
            _replace(cursor, mark.xmin, max(start, sums.log_begins_at()), end)


def _take(cursor: CursorWrapper, how: str) -> Mark | None:
    """Begin the snapshot, and hold the mark until the transaction ends."""
    cursor.execute(REPEATABLE_READ)
    cursor.execute(ROOM)
    cursor.execute(how)
    found = cursor.fetchone()
    return Mark(*found) if found else None


def _bring_up_to_date(cursor: CursorWrapper, mark: Mark) -> int:
    if mark.xmin <= mark.upto:
        return 0
    if mark.upto:
        written = _add(cursor, lo=mark.upto, hi=mark.xmin)
    else:
        written = _replace(cursor, mark.xmin, sums.log_begins_at(), sums.END)
    cursor.execute(MOVE, {"hi": mark.xmin, "cluster": this_cluster()})
    return written


def _replace(cursor: CursorWrapper, hi: int, start: datetime, end: datetime) -> int:
    """Make the sums of a span anew of all that was written below `hi`."""
    for sheet in SHEETS:
        sheet.rows(start, end).delete()
    return _add(cursor, lo=0, hi=hi, low=lowest_at(start), high=lowest_at(end))


def _add(cursor: CursorWrapper, *, lo: int, hi: int, **span: UUID) -> int:
    """Add a window of the log to all sheets. Returns how many rows of the first changed."""
    window: dict[str, Any] = {"lo": str(lo), "hi": str(hi), **WHOLE_LOG, **span}
    written: list[int] = []
    for statement in ADD:
        cursor.execute(statement, window)
        written.append(cursor.rowcount)
    return written[0]
