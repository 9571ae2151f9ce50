"""The moment that a report is made as of: what it knows, and what came too late for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import BooleanField, Func, QuerySet, Value

from usage.models import AsOf, RollupMark, UsageRecord
from usage.pieces import NoReport

#: On SQLite a batch may wait so long for its turn to be written, after it was dated.
WRITTEN_WITHIN = timedelta(seconds=30)


class NotSettled(NoReport):
    """What was known at that moment is not certain yet."""


class WrittenBefore(Func):
    """Whether a row's transaction is lower than the one given. Only on PostgreSQL."""

    template = "x < %(expressions)s::text::xid8"
    output_field = BooleanField()


def latest() -> AsOf:
    """The newest moment that is certain. Not saved: for figures that nobody will ask for again."""
    mark = RollupMark.objects.order_by("-at").first()
    if mark is None or (connection.vendor == "postgresql" and not mark.upto):
        raise NotSettled("Nothing was summed yet. Sums are made while a Celery worker runs.")
    waits = timedelta(0) if connection.vendor == "postgresql" else WRITTEN_WITHIN
    return AsOf(at=mark.at - waits, upto=mark.upto)


def settle(at: datetime | None = None) -> AsOf:
    """The moment asked for, or the newest. It says the same whenever it is asked for again."""
    newest = latest()
    if at and at > newest.at:
        raise NotSettled(
            f"Usage is summed up to {newest.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC. "
            "Choose that moment or an earlier one."
        )
    as_of, _ = AsOf.objects.get_or_create(at=at or newest.at, defaults={"upto": newest.upto})
    return as_of


def known(rows: QuerySet[Any], as_of: AsOf) -> QuerySet[Any]:
    """Those of these rows of the log that had been written by then."""
    rows = rows.filter(recorded_at__lte=as_of.at)
    if connection.vendor != "postgresql":
        return rows
    return rows.filter(WrittenBefore(Value(str(as_of.upto))))


def is_known(as_of: AsOf) -> tuple[str, list[Any]]:
    """The same as SQL over a table of the log."""
    at = UsageRecord._meta.get_field("recorded_at").get_db_prep_value(as_of.at, connection)
    if connection.vendor != "postgresql":
        return "recorded_at <= %s", [at]
    return "(recorded_at <= %s AND x < %s::text::xid8)", [at, str(as_of.upto)]


def is_late(as_of: AsOf) -> tuple[str, list[Any]]:
    """The opposite, in a form that indexes serve."""
    at = UsageRecord._meta.get_field("recorded_at").get_db_prep_value(as_of.at, connection)
    if connection.vendor != "postgresql":
        return "recorded_at > %s", [at]
    return "(recorded_at > %s OR x >= %s::text::xid8)", [at, str(as_of.upto)]
