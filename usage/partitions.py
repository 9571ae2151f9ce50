"""The days that the log is cut into on PostgreSQL: made ahead, mended, and dropped.

SQLite has none: there everything here finds nothing to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from lib.ids import lowest_at, made_at
from usage.models import Decision, UsageAttempt, UsageRecord

logger = logging.getLogger(__name__)

#: The log itself: a day of it goes as a whole.
TABLES = (UsageRecord._meta.db_table, UsageAttempt._meta.db_table)
DECISIONS = Decision._meta.db_table
AHEAD_DAYS = 3
#: Nobody waits longer than this for a partition to be made: there will be another time.
LOCK_WITHIN = "2s"


class Partition(NamedTuple):
    """One day of one table, in UTC."""

    table: str
    day: date

    @property
    def name(self) -> str:
        return f"{self.table}_{self.day:%Y%m%d}"

    @property
    def bounds(self) -> tuple[UUID, UUID]:
        """The least id in it, and the least behind it."""
        midnight = datetime.combine(self.day, datetime.min.time(), UTC)
        return lowest_at(midnight), lowest_at(midnight + timedelta(days=1))


def look_after() -> None:
    """Make the partitions of the next days, and those of the days that were missed."""
    for table in partitioned():
        _make_ahead(table)
        _mend(table)


def partitioned() -> list[str]:
    """The tables that are cut into days in this database."""
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'p' AND relname = ANY(%s) "
            "AND pg_table_is_visible(oid)",
            [[*TABLES, DECISIONS]],
        )
        return [name for (name,) in cursor.fetchall()]


def existing(table: str) -> list[Partition]:
    """The days of a table that have a partition, the oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
            "WHERE inhparent = %s::regclass AND child.relname <> %s ORDER BY 1",
            [table, default_of(table)],
        )
        return [Partition(table, _day_in(name)) for (name,) in cursor.fetchall()]


def default_of(table: str) -> str:
    return f"{table}_default"


def has_strays() -> bool:
    """Whether rows lie in a default partition, for want of one of their own."""
    return any(_first_stray(table) for table in partitioned())


def drop(partition: Partition) -> None:
    """Remove a day with all that is in it. The caller knows that it may go."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {partition.name}")


def lock(partition: Partition) -> None:
    """Let nobody else into a day until the transaction ends, or raise OperationalError."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_WITHIN}'")
        # The parent first, as everyone does who reads or writes.
        cursor.execute(f"LOCK TABLE {partition.table} IN ACCESS EXCLUSIVE MODE")


def _make_ahead(table: str) -> None:
    today = timezone.now().astimezone(UTC).date()
    present = {partition.day for partition in existing(table)}
    for day in (today + timedelta(days=days) for days in range(AHEAD_DAYS + 1)):
        if day not in present:
            make(Partition(table, day))


def _mend(table: str) -> None:
    for day in _days_of_strays(table):
        logger.error("%s had no partition for %s: it is made now", table, day)
        make(Partition(table, day))


def _days_of_strays(table: str) -> Iterator[date]:
    while stray := _first_stray(table):
        yield made_at(stray).date()


def _first_stray(table: str) -> UUID | None:
    with connection.cursor() as cursor:
        # The default partition's own primary key leads there at once.
        cursor.execute(f"SELECT request_id FROM {default_of(table)} ORDER BY 1 LIMIT 1")  # noqa: S608
        found = cursor.fetchone()
        return found[0] if found else None


@transaction.atomic
def make(partition: Partition) -> None:
    """Make a partition with the rows that came before it was there.

    It is made apart and then attached: that waits for nobody who reads or writes other days.
    """
    table, name, default = partition.table, partition.name, default_of(partition.table)
    first, behind = partition.bounds
    move = (
        f"WITH moved AS (DELETE FROM {default} "  # noqa: S608  # names of our own
        "WHERE request_id >= %s AND request_id < %s RETURNING *) "
        f"INSERT INTO {name} SELECT * FROM moved"
    )
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_WITHIN}'")
        cursor.execute(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(
            f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        )
        # Only its owner can: for everybody else the ledger stays append-only.
        cursor.execute(f"ALTER TABLE {default} DISABLE TRIGGER {table}_append_only")
        cursor.execute(move, [first, behind])
        cursor.execute(f"ALTER TABLE {default} ENABLE TRIGGER {table}_append_only")
        cursor.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {name} "
            f"FOR VALUES FROM ('{first}') TO ('{behind}')"
        )


def _day_in(name: str) -> date:
    return datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date()
