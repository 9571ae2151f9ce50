"""Which part of a period is read from which table: whole days, whole hours, and the log itself.

Sums of days are the fewest rows, so they are read wherever a day in UTC lies within one bucket.
The log is read where no sum fits: at the edges of days in time zones that are not whole hours
from UTC, and in hours that something was added to after the moment that a report is as of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
#: From one moment up to another, which does not belong to it.
Span: TypeAlias = tuple[datetime, datetime]
Source = Literal["days", "hours", "log"]


class Bucket(NamedTuple):
    """A part of the period that has lines of its own in a report."""

    label: str
    start: datetime
    end: datetime


class NoReport(Exception):
    """Why a report cannot be made, in a sentence for people."""


class HoursDoNotAlign(NoReport):
    """Hours of this time zone are not hours of UTC."""


@dataclass(slots=True)
class Pieces:
    """Where to read what. Neighbors are joined; pieces of the log never cross a bucket."""

    days: list[Span] = field(default_factory=list)
    hours: list[Span] = field(default_factory=list)
    log: list[Span] = field(default_factory=list)

    def add(self, source: Source, span: Span, bucket: Bucket) -> None:
        spans: list[Span] = getattr(self, source)
        start, end = span
        joins = spans and spans[-1][1] == start
        if joins and (source != "log" or spans[-1][0] >= bucket.start):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append(span)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The moment, in UTC, at which a day begins in a time zone."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def whole(start: datetime, end: datetime) -> list[Bucket]:
    return [Bucket("", start, end)]


def by_hour(first: date, last: date, zone: ZoneInfo) -> list[Bucket]:
    """Labels have the offset from UTC in them: the hour that a clock shows twice is two."""
    start, end = midnight(first, zone), midnight(last + DAY, zone)
    if any(moment.minute or moment.second for moment in (start, end)):
        raise HoursDoNotAlign(
            f"Hours of {zone.key} are not hours of UTC. Choose days, or another time zone."
        )
    hours = [start + number * HOUR for number in range((end - start) // HOUR)]
    return [Bucket(f"{_local(hour, zone)}", hour, hour + HOUR) for hour in hours]


def _local(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).isoformat(timespec="minutes")


def by_day(first: date, last: date, zone: ZoneInfo) -> list[Bucket]:
    days = [first + number * DAY for number in range((last - first).days + 1)]
    return [Bucket(str(day), midnight(day, zone), midnight(day + DAY, zone)) for day in days]


def by_month(first: date, last: date, zone: ZoneInfo) -> list[Bucket]:
    """The first and the last may be parts of months."""
    buckets = []
    while first <= last:
        following = (first.replace(day=1) + 32 * DAY).replace(day=1)
        ends = min(following, last + DAY)
        buckets.append(Bucket(f"{first:%Y-%m}", midnight(first, zone), midnight(ends, zone)))
        first = following
    return buckets


def cut(buckets: list[Bucket], until: datetime, uncertain: Collection[datetime]) -> Pieces:
    """The pieces of these buckets up to a moment. `uncertain`: hours that only the log tells."""
    pieces = Pieces()
    for bucket in buckets:
        end = min(bucket.end, ceiling(until, HOUR))
        for source, span in _cut_bucket(bucket.start, end, uncertain):
            pieces.add(source, span, bucket)
    return pieces


def _cut_bucket(
    start: datetime, end: datetime, uncertain: Collection[datetime]
) -> Iterator[tuple[Source, Span]]:
    first, last = ceiling(start, HOUR), floor(end, HOUR)
    if first > last:
        if start < end:
            yield "log", (start, end)
        return
    if start < first:
        yield "log", (start, first)
    yield from _cut_hours(first, last, uncertain)
    if last < end:
        yield "log", (last, end)


def _cut_hours(
    first: datetime, last: datetime, uncertain: Collection[datetime]
) -> Iterator[tuple[Source, Span]]:
    """Days wherever one is whole and certain, else hours."""
    at_issue = {floor(hour, DAY) for hour in uncertain}
    moment = first
    while moment < last:
        is_day = moment == floor(moment, DAY) and moment + DAY <= last
        if is_day and moment not in at_issue:
            yield "days", (moment, moment + DAY)
            moment += DAY
        else:
            yield "log" if moment in uncertain else "hours", (moment, moment + HOUR)
            moment += HOUR


def floor(moment: datetime, unit: timedelta) -> datetime:
    return moment - (moment - datetime.min.replace(tzinfo=UTC)) % unit


def ceiling(moment: datetime, unit: timedelta) -> datetime:
    return -((datetime.min.replace(tzinfo=UTC) - moment) // unit) * unit + datetime.min.replace(
        tzinfo=UTC
    )


#: How each dimension of time cuts a period.
BY_TIME: dict[str, Callable[[date, date, ZoneInfo], list[Bucket]]] = {
    "hour": by_hour,
    "day": by_day,
    "month": by_month,
}
