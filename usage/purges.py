"""What retention removed stays removed: a late copy of it is no news."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from django.db import connections
from django.utils import timezone

from lib.ids import made_at
from usage.ledger import RECORDS, database
from usage.models import PurgeReceipt
from usage.rows import Refused, Row

#: Nothing younger is ever purged, so that the receipts need not be read for what is.
YOUNGEST_PURGED = timedelta(days=2)
REASON = "Retention has purged its day, so it may have been counted before."


def retained(rows: Sequence[Row]) -> tuple[list[Row], list[Refused]]:
    """The rows whose day was not purged, and the others, which may have been counted already.

    Runs in the transaction that adds the rows.
    """
    horizon = timezone.now() - YOUNGEST_PURGED
    days = {row.request_id: made_at(row.request_id) for row in rows}
    old = {moment.date() for moment in days.values() if moment < horizon}
    purged = _purged(old) if old else set()
    kept = [row for row in rows if days[row.request_id].date() not in purged]
    lost = [row for row in rows if days[row.request_id].date() in purged] if purged else []
    return kept, [Refused(row.raw, REASON) for row in lost]


def _purged(days: Iterable[date]) -> set[date]:
    _keep_purges_out()
    receipts = PurgeReceipt.objects.using(database()).filter(kind=PurgeReceipt.Kind.RECORDS)
    return {day for day in days if receipts.filter(first_day__lte=day, last_day__gte=day).exists()}


def _keep_purges_out() -> None:
    """Until the end of the transaction. In SQLite the transaction is the lock."""
    if connections[database()].vendor == "postgresql":
        with connections[database()].cursor() as cursor:
            cursor.execute(f"LOCK TABLE {RECORDS.name} IN ROW EXCLUSIVE MODE")
