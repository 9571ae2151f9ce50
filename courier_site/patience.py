"""How long PostgreSQL may work on one statement of a page of the admin.

Usage, reports, migrations and the API share the pool of connections with it, and have no such
bound: each connection is given the one of its borrower when it is taken from the pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver

#: What PostgreSQL says of a statement that was given up.
GIVEN_UP = "57014"

_shows_a_page: ContextVar[bool] = ContextVar("shows_a_page", default=False)


@contextmanager
def bounded() -> Iterator[None]:
    """Connections that are taken meanwhile have the bound."""
    token = _shows_a_page.set(True)
    try:
        yield
    finally:
        _shows_a_page.reset(token)


def most_ms() -> int:
    """How long a statement may take here, in milliseconds; 0: any time."""
    return int(settings.COURIER_PAGE_TIMEOUT_S * 1000) if _shows_a_page.get() else 0


def is_over(error: Exception) -> bool:
    """Whether a statement was given up for having taken too long."""
    return getattr(error.__cause__, "sqlstate", None) == GIVEN_UP


@receiver(connection_created)
def _bound(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection.vendor != "postgresql":
        return
    wanted_ms, taken = most_ms(), connection.connection
    if getattr(taken, "courier_bound_ms", 0) != wanted_ms:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, false)", [str(wanted_ms)])
        taken.courier_bound_ms = wanted_ms
