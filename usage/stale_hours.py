"""Roll-ups on SQLite: an hour that something was added to is marked, and summed anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from lib.ids import lowest_at
from usage import sums
from usage.models import RollupMark, StaleHour, UsageRecord
from usage.sums import ATTEMPTS, DAILY, DAILY_TAGS, DAY, HOUR, HOURLY, HOURLY_TAGS, SHEETS, Sheet

SPAN = "request_id >= %(low)s AND request_id < %(high)s"
EVENTS = f"({sums.events(SPAN)}) AS event"
#: What must not stand in JSON as it is, is quoted before the commas are looked for.
TAGS = "json_each('[' || replace(json_quote(tags), ',', '\",\"') || ']') AS label"
LABELED = (
    f"(SELECT event.*, substr(label.value, 1, 36) AS tag FROM {EVENTS}, {TAGS} "  # noqa: S608
    "WHERE tags <> '') AS labeled"
)
TRIED = f"({sums.attempts(SPAN)}) AS attempt"
#: What the log says of each sheet in one hour, or one day.
TOLD = {
    sheet.table: sheet.summed("%(period)s", source)
    for sheet, source in (
        (HOURLY, EVENTS),
        (DAILY, EVENTS),
        (HOURLY_TAGS, LABELED),
        (DAILY_TAGS, LABELED),
        (ATTEMPTS, TRIED),
    )
}


def _of_hours(hourly: Sheet) -> str:
    return f"{hourly.table} WHERE hour >= %(start)s AND hour < %(end)s"


#: The same from sums that are there already.
ADDED_UP = {
    DAILY.table: DAILY.summed("%(period)s", _of_hours(HOURLY)),
    DAILY_TAGS.table: DAILY_TAGS.summed("%(period)s", _of_hours(HOURLY_TAGS)),
}


@transaction.atomic
def roll_up() -> int:
    """Sum the marked hours anew. Returns how many hourly rows that made."""
    hours = _take_marks()
    written = _sum_anew(hours)
    RollupMark.objects.update_or_create(pk=1, defaults={"at": timezone.now()})
    return written


@transaction.atomic
def make_anew(start: datetime, end: datetime) -> None:
    """Replace the sums from one midnight up to another by what the log says."""
    start, end = max(start, sums.log_begins_at()), min(end, _log_ends_at())
    for sheet in SHEETS:
        sheet.rows(start, end).delete()
    _sum_anew(_hours(start, end))


def start_over() -> None:
    """Let the next roll-up make everything anew that the log still tells."""
    hours = _hours(sums.log_begins_at(), _log_ends_at())
    StaleHour.objects.bulk_create(StaleHour(hour=hour) for hour in hours)


@contextmanager
def snapshot() -> Iterator[int]:
    """All that is read inside is of one moment, at which the sums are up to date."""
    with transaction.atomic():
        roll_up()
        yield 0


def told(sheet: Sheet, start: datetime, end: datetime, _upto: int) -> list[tuple[Any, ...]]:
    """The rows that a sheet should have in one hour or day, by the log."""
    with connection.cursor() as cursor:
        cursor.execute(TOLD[sheet.table], _span(sheet, start, end))
        return list(cursor.fetchall())


def _take_marks() -> list[datetime]:
    # This is the one writer while its transaction lasts: no mark comes in between.
    hours = sorted(set(StaleHour.objects.values_list("hour", flat=True)))
    StaleHour.objects.all().delete()
    return hours


def _log_ends_at() -> datetime:
    newest = UsageRecord.objects.values_list("request_id", flat=True).first()
    return sums.midnight_before(newest) + DAY if newest else sums.log_begins_at()


def _hours(start: datetime, end: datetime) -> list[datetime]:
    return [start + n * HOUR for n in range((end - start) // HOUR)]


def _sum_anew(hours: Iterable[datetime]) -> int:
    written = sum(_sum_hour(hour) for hour in hours)
    for day in sorted({hour.date() for hour in hours}):
        _sum_day(sums.midnight_of(day))
    return written


def _sum_hour(hour: datetime) -> int:
    return [_replace(sheet, TOLD, hour, hour + HOUR) for sheet in (HOURLY, HOURLY_TAGS, ATTEMPTS)][
        0
    ]


def _sum_day(midnight: datetime) -> None:
    for sheet in (DAILY, DAILY_TAGS):
        _replace(sheet, ADDED_UP, midnight, midnight + DAY)


def _replace(sheet: Sheet, rows: dict[str, str], start: datetime, end: datetime) -> int:
    sheet.rows(start, end).delete()
    with connection.cursor() as cursor:
        cursor.execute(sheet.insert(rows[sheet.table]), _span(sheet, start, end))
        return int(cursor.rowcount)


def _span(sheet: Sheet, start: datetime, end: datetime) -> dict[str, Any]:
    stored = connection.ops.adapt_datetimefield_value
    return {
        "low": lowest_at(start).hex,
        "high": lowest_at(end).hex,
        "start": stored(start),
        "end": stored(end),
        "period": stored(start) if sheet.period == "hour" else start.date().isoformat(),
    }
