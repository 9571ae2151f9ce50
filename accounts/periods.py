"""Days, weeks and months in a time zone: where they begin, in microseconds since 1970."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from lib.ids import EPOCH

MICROSECOND = timedelta(microseconds=1)
#: The largest whole number up to which a double, and so a script in Redis, is exact.
FOREVER_US = 2**53 - 1


class Bounds(NamedTuple):
    """Where the previous, the present and the next window begin, and where the next ends."""

    previous: int
    present: int
    next: int
    end: int

    def window(self, now_us: int) -> tuple[int, int]:
        """The window of a moment near the present, as its beginning and its end."""
        if now_us < self.present:
            return self.previous, self.present
        if now_us < self.next:
            return self.present, self.next
        return self.next, self.end


def bounds_of(period: str, time_zone: str, now_us: int) -> Bounds:
    """The windows around a moment. `period` is day, week or month."""
    zone = ZoneInfo(time_zone)
    today = datetime.fromtimestamp(now_us / 1_000_000, zone).date()
    first = first_day(period, today)
    following = _next(period, first)
    days = (_before(period, first), first, following, _next(period, following))
    return Bounds(*(midnight_us(day, zone) for day in days))


def always(since_us: int) -> Bounds:
    """One window without an end."""
    return Bounds(since_us, since_us, FOREVER_US, FOREVER_US)


def first_day(period: str, day: date) -> date:
    """The first day of the period that a day is in. Weeks begin on Monday."""
    if period == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if period == "week" else day


def midnight_us(day: date, zone: ZoneInfo) -> int:
    """The beginning of a day. Where clocks skip midnight, the moment at which they do."""
    return to_us(datetime.combine(day, time(), zone))


def to_us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - EPOCH) // MICROSECOND


def from_us(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def _next(period: str, first: date) -> date:
    if period == "month":
        return (first.replace(day=1) + timedelta(days=32)).replace(day=1)
    return first + timedelta(days=7 if period == "week" else 1)


def _before(period: str, first: date) -> date:
    return first_day(period, first - timedelta(days=1))
