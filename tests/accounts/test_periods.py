"""Days, weeks and months begin where the people of a time zone say they do."""

import zoneinfo
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.periods import FOREVER_US, always, bounds_of, from_us, to_us

ZONES = sorted(zoneinfo.available_timezones())
MOMENTS = st.integers(1_700_000_000, 2_100_000_000)
PERIODS = st.sampled_from(["day", "week", "month"])


def local(microseconds, zone):
    return from_us(microseconds).astimezone(ZoneInfo(zone))


def bounds(period, zone, *moment):
    return bounds_of(period, zone, to_us(datetime(*moment, tzinfo=ZoneInfo(zone))))


@given(
    seconds=MOMENTS, zone=st.sampled_from(ZONES), period=st.sampled_from(["day", "week", "month"])
)
def test_the_present_window_holds_the_moment_and_touches_its_neighbors(seconds, zone, period):
    now = seconds * 1_000_000
    around = bounds_of(period, zone, now)
    assert around.previous < around.present <= now < around.next < around.end
    assert bounds_of(period, zone, around.next).present == around.next
    assert bounds_of(period, zone, around.present - 1).present == around.previous


@pytest.mark.parametrize(
    ("period", "begin", "end"),
    [
        ("day", (2026, 11, 25), (2026, 11, 26)),
        ("week", (2026, 11, 23), (2026, 11, 30)),
        ("month", (2026, 11, 1), (2026, 12, 1)),
    ],
)
def test_windows_begin_at_midnight_of_the_time_zone(period, begin, end):
    around = bounds(period, "Asia/Seoul", 2026, 11, 25, 0, 30)
    seoul = ZoneInfo("Asia/Seoul")
    assert from_us(around.present) == datetime(*begin, tzinfo=seoul)
    assert from_us(around.next) == datetime(*end, tzinfo=seoul)


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25)])
def test_a_day_on_which_clocks_change_is_as_long_as_it_is(day, hours):
    around = bounds("day", "Europe/Berlin", *day, 12)
    assert (around.next - around.present) / 3_600_000_000 == hours


def test_a_day_whose_midnight_is_skipped_begins_when_clocks_do():
    around = bounds("day", "America/Santiago", 2026, 9, 6, 12)
    assert local(around.present, "America/Santiago").isoformat() == "2026-09-06T01:00:00-03:00"


def test_a_day_whose_midnight_comes_twice_begins_with_the_first():
    around = bounds("day", "America/Havana", 2026, 11, 1, 12)
    assert from_us(around.present) == datetime(2026, 11, 1, 4, tzinfo=UTC)
    assert (around.next - around.present) / 3_600_000_000 == 25


@pytest.mark.parametrize(
    ("month", "days"), [((2028, 2, 29), 29), ((2026, 2, 1), 28), ((2026, 12, 31), 31)]
)
def test_months_are_as_long_as_they_are(month, days):
    around = bounds("month", "UTC", *month)
    assert (around.next - around.present) / 86_400_000_000 == days


def test_the_only_window_never_ends():
    assert always(7).window(10**15) == (7, FOREVER_US)
    assert always(7).window(3)[0] == 7


def test_a_window_is_chosen_by_the_moment():
    around = bounds("day", "UTC", 2026, 11, 25, 12)
    chosen = [around.window(edge)[0] for edge in (around.present - 1, around.present, around.next)]
    assert chosen == [around.previous, around.present, around.next]
