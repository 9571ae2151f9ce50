"""Adds rows to the ledger, each once: whole batches, or all of one but what is at fault."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import DataError, IntegrityError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from lib.ids import hour_of
from usage.late import add_late_figures
from usage.models import Decision, StaleHour, UsageAttempt, UsageRecord
from usage.rows import ATTEMPT_COLUMNS, COLUMNS, DECISION_COLUMNS, Refused, Row, refused

T = TypeVar("T")

#: So many lines or rows are handled before the event loop, which shares the interpreter with
#: this thread, surely gets its turn.
AT_A_TIME = 50
PAUSE_S = 0.0002
#: What the database says when a row, not the database, is at fault.
ROW_AT_FAULT = (DataError, IntegrityError, OverflowError, ValueError)


@dataclass(frozen=True, slots=True)
class Table:
    """The statements that add rows to one table of the ledger, but none twice."""

    name: str
    columns: Sequence[str]
    key: str

    @property
    def names(self) -> str:
        return ", ".join(self.columns)

    @property
    def make_incoming(self) -> str:
        return (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {self.name}_incoming ON COMMIT DELETE ROWS "  # noqa: S608  # constants
            f"AS SELECT {self.names} FROM {self.name} WITH NO DATA"
        )

    @property
    def copy(self) -> str:
        return f"COPY {self.name}_incoming ({self.names}) FROM STDIN"

    @property
    def merge(self) -> str:
        return (
            f"INSERT INTO {self.name} ({self.names}) "  # noqa: S608  # constants
            f"SELECT {self.names} FROM {self.name}_incoming ON CONFLICT ({self.key}) DO NOTHING"
        )

    @property
    def insert(self) -> str:
        return (
            f"INSERT INTO {self.name} ({self.names}) "  # noqa: S608  # constants
            f"VALUES ({', '.join(['%s'] * len(self.columns))}) ON CONFLICT ({self.key}) DO NOTHING"
        )


RECORDS = Table(UsageRecord._meta.db_table, COLUMNS, "request_id")
ATTEMPTS = Table(UsageAttempt._meta.db_table, ATTEMPT_COLUMNS, "request_id, number")
DECISIONS = Table(Decision._meta.db_table, DECISION_COLUMNS, "request_id")


def database() -> str:
    """The alias of the connection that the ledger is written through."""
    alias: str = settings.LEDGER_DATABASE
    return alias


def connection() -> BaseDatabaseWrapper:
    return connections[database()]


def add(rows: Sequence[Row]) -> list[Refused]:
    """Add the rows that are not there yet. Returns what the database refuses."""
    try:
        with transaction.atomic(using=database()):
            _write(rows)
    except ROW_AT_FAULT as error:
        if len(rows) == 1:
            return _add_without_attempts(rows[0], error)
        middle = len(rows) // 2
        return add(rows[:middle]) + add(rows[middle:])
    return []


def add_decisions(rows: Sequence[Row]) -> list[Refused]:
    """Add the decisions that are not there yet. Returns what the database refuses."""
    try:
        with transaction.atomic(using=database()):
            _insert(DECISIONS, [row.values for row in rows])
    except ROW_AT_FAULT as error:
        if len(rows) == 1:
            return [refused(rows[0].raw, error)]
        middle = len(rows) // 2
        return add_decisions(rows[:middle]) + add_decisions(rows[middle:])
    return []


def mark_hours(request_ids: Iterable[UUID]) -> None:
    """Tell the roll-ups what to sum anew. Those of PostgreSQL go by transactions instead."""
    if connection().vendor != "postgresql":
        hours = {hour_of(request_id) for request_id in request_ids}
        StaleHour.objects.using(database()).bulk_create(StaleHour(hour=hour) for hour in hours)


def _add_without_attempts(row: Row, error: Exception) -> list[Refused]:
    """Whichever of a record and its attempts the database takes, each for itself."""
    if not row.attempts:
        return [refused(row.raw, error)]
    if at_fault := add([row._replace(attempts=())]):
        return at_fault
    return [said for attempt in row.attempts for said in _add_attempt(attempt)]


def _add_attempt(attempt: Row) -> list[Refused]:
    try:
        with transaction.atomic(using=database()):
            _insert(ATTEMPTS, [attempt.values])
    except ROW_AT_FAULT as error:
        return [refused(attempt.raw, error)]
    return []


def _write(rows: Sequence[Row]) -> None:
    added = _insert(RECORDS, [row.values for row in rows])
    _insert(ATTEMPTS, [attempt.values for row in rows for attempt in row.attempts])
    if added < len(rows):
        add_late_figures(rows, database())


def _insert(table: Table, rows: Sequence[Sequence[Any]]) -> int:
    """Returns how many rows were not there."""
    if not rows:
        return 0
    if connection().vendor == "postgresql":
        return _copy(table, rows)
    with connection().cursor() as cursor:
        cursor.executemany(table.insert, [[_adapted(value) for value in row] for row in rows])
        return int(cursor.rowcount)


def _copy(table: Table, rows: Sequence[Sequence[Any]]) -> int:
    with connection().cursor() as cursor:
        cursor.execute(table.make_incoming)
        with connection().wrap_database_errors, cursor.copy(table.copy) as copy:
            for row in politely(rows):
                copy.write_row(row)
        cursor.execute(table.merge)
        return int(cursor.rowcount)


def _adapted(value: Any) -> Any:
    """As Django stores it in SQLite."""
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return str(value.astimezone(UTC).replace(tzinfo=None))
    return value.isoformat() if isinstance(value, date) else value


def politely(items: Iterable[T]) -> Iterable[T]:
    """The same items, with pauses in which others get their turn."""
    for number, item in enumerate(items, 1):
        yield item
        if number % AT_A_TIME == 0:
            time.sleep(PAUSE_S)
