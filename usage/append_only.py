"""On SQLite, what is written in the ledger cannot be changed. On PostgreSQL a migration sees to it.

Every migration that rebuilds a table of SQLite loses its triggers, so they are made after all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from usage.models import Decision, UsageAdjustment, UsageAttempt, UsageRecord

LEDGER = tuple(
    model._meta.db_table for model in (UsageRecord, UsageAttempt, UsageAdjustment, Decision)
)


def guard() -> None:
    """Refuse updates of the ledger's tables. Deletions are left to retention."""
    if connection.vendor != "sqlite":
        return
    present = set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        for table in present.intersection(LEDGER):
            cursor.execute(
                f"CREATE TRIGGER IF NOT EXISTS {table}_append_only BEFORE UPDATE ON {table} BEGIN "
                "SELECT RAISE(ABORT, 'The ledger is append-only. Enter an adjustment instead.'); "
                "END"
            )


@contextmanager
def paused(table: str) -> Iterator[None]:
    """Let retention delete from a table, on PostgreSQL until the end of this block.

    Only the owner of the table can ask for it, in a transaction that locks out all others.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {table}_append_only")
        yield
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {table}_append_only")
