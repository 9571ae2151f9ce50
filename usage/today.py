"""What was used today, in UTC, up to this moment: sums, and of the log what is not in them yet."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from lib.ids import lowest_at
from usage import sums, transaction_window
from usage.models import StaleHour
from usage.sums import ATTEMPTS, DAILY, DAY, FAILED, HOUR, HOURLY, midnight_of

Row = dict[str, Any]

GROUPS = ("key_id", "model")
#: Above every transaction id.
LATEST = str(2**64 - 1)


class Tried(NamedTuple):
    """What was asked of one provider, whoever has answered the requests in the end."""

    attempts: int = 0
    failed: int = 0
    #: What it charges for attempts that nobody received.
    wasted_nano: int = 0


class Today(NamedTuple):
    """What was used since midnight."""

    #: The sums of each key and model, with the name of the key.
    rows: list[Row]
    #: By the name of the provider.
    tried: dict[str, Tried]

    @property
    def wasted_nano(self) -> int:
        return sum(tried.wasted_nano for tried in self.tried.values())


def so_far() -> Today:
    """All of today, of one moment."""
    midnight = midnight_of(timezone.now().date())
    if connection.vendor == "postgresql":
        return transaction_window.consistently(
            lambda upto: _read("postgresql", midnight, lo=str(upto), hi=LATEST)
        )
    with transaction.atomic():
        return _read("sqlite", midnight, stale=_stale(midnight))


def _read(vendor: str, midnight: datetime, **more: str) -> Today:
    rows = _fetch(SUMMED[vendor], midnight, **more)
    tried = _fetch(TRIED[vendor], midnight, **more)
    return Today(rows, {row.pop("provider_name"): Tried(**row) for row in tried})


def _fetch(statement: str, midnight: datetime, **more: str) -> list[Row]:
    low, high = lowest_at(midnight), lowest_at(midnight + DAY)
    span = {"day": midnight.date().isoformat(), "start": _stored(midnight)}
    with connection.cursor() as cursor:
        cursor.execute(statement, {"low": _id(low), "high": _id(high), **span, **more})
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _stale(midnight: datetime) -> str:
    """The ids of the hours of today whose sums do not hold any more."""
    hours = set(StaleHour.objects.filter(hour__gte=midnight).values_list("hour", flat=True))
    return json.dumps([(_id(lowest_at(hour)), _id(lowest_at(hour + HOUR))) for hour in hours])


def _id(request_id: UUID) -> str:
    return request_id.hex


def _stored(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)


#: The sums of hours that still hold, and the log of the others.
_GOOD = "hour >= %(start)s AND hour NOT IN (SELECT hour FROM usage_stalehour)"
_BAD = (
    "request_id >= %(low)s AND request_id < %(high)s AND EXISTS (SELECT 1 FROM "
    "json_each(%(stale)s) WHERE request_id >= json_extract(value, '$[0]') "
    "AND request_id < json_extract(value, '$[1]'))"
)
#: Without a usable mark the log tells everything.
_KNOWN = "%(lo)s <> '0'"


def _summed(table: str, where: str, events: str) -> str:
    told = ", ".join((*GROUPS, "key_name", *sums.SUMS))
    values = ", ".join(f"CAST(SUM({name}) AS bigint) AS {name}" for name in sums.SUMS)
    groups = ", ".join(GROUPS)
    return (
        f"SELECT {groups}, MAX(key_name) AS key_name, {values} FROM ("  # noqa: S608  # constants
        f"SELECT {told} FROM {table} WHERE {where} "
        f"UNION ALL SELECT {told} FROM ({events}) AS event) AS part GROUP BY {groups}"
    )


def _tried(where: str, attempts: str) -> str:
    told = "provider_name, outcome, received, attempts, cost_nano"
    sums_of = {
        "attempts": "attempts",
        "failed": f"CASE WHEN {FAILED} THEN attempts ELSE 0 END",
        "wasted_nano": "CASE WHEN received THEN 0 ELSE cost_nano END",
    }
    values = ", ".join(f"CAST(SUM({each}) AS bigint) AS {name}" for name, each in sums_of.items())
    return (
        f"SELECT provider_name, {values} FROM ("  # noqa: S608  # constants
        f"SELECT {told} FROM {ATTEMPTS.table} WHERE {where} "
        f"UNION ALL SELECT {told} FROM ({attempts}) AS attempt) AS part GROUP BY provider_name"
    )


SUMMED = {
    "postgresql": _summed(
        DAILY.table, f"day = %(day)s AND {_KNOWN}", sums.events(transaction_window.WINDOW)
    ),
    "sqlite": _summed(HOURLY.table, _GOOD, sums.events(_BAD)),
}
TRIED = {
    "postgresql": _tried(
        f"hour >= %(start)s AND {_KNOWN}", sums.attempts(transaction_window.WINDOW)
    ),
    "sqlite": _tried(_GOOD, sums.attempts(_BAD)),
}
