"""Several queries of one moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from django.db import connection, transaction


@contextlib.contextmanager
def one_snapshot() -> Iterator[None]:
    """What is read within is as it was when the first query began, and nothing is written.

    Within a transaction that has begun already, it is as that transaction sees it.
    """
    if connection.in_atomic_block or _is_reading():
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield
    else:
        with _reading():
            yield


def _is_reading() -> bool:
    """Whether a snapshot of SQLite has begun, of which Django knows nothing."""
    return connection.vendor == "sqlite" and bool(
        connection.connection and connection.connection.in_transaction
    )


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    # Django would begin a transaction that locks all writers out, however long this takes.
    with connection.cursor() as cursor:
        cursor.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")
