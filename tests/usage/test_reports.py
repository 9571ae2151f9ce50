"""Reports: exact, the same for one moment ever after, and read from sums."""

from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.usage.ledger import DAY, NOON, correct, days_of, log, sum_up
from usage import as_of, pieces, reports
from usage.as_of import NotSettled
from usage.models import PurgeReceipt, UsageRecord
from usage.report_questions import Question

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def ask(*dimensions, first=DAY, last=DAY, moment=None, **more):
    question = Question(dimensions, first, last, **more)
    return reports.report(question, moment or as_of.settle())


def told(report, name="cost_nano"):
    """What each line says: its names, and one figure."""
    return [(*line.names, line.sums[name]) for line in report.lines]


def everything(report):
    return (report.columns, list(report.rows()))


def test_a_report_sums_by_one_dimension():
    log(cost_nano=1)
    log(cost_nano=2)
    log(cost_nano=4, team_id=2, team_name="sales")
    sum_up()

    assert told(ask("team")) == [("research", 3), ("sales", 4)]


def test_a_report_sums_by_two_dimensions():
    log(cost_nano=1)
    log(cost_nano=2, provider_name="other")
    log(cost_nano=4, model_served="", model_asked="large")
    sum_up()

    assert told(ask("model", "provider")) == [
        ("large", "local", 4), ("small", "local", 1), ("small", "other", 2),
    ]  # fmt: skip


def test_only_the_period_counts():
    midnight = datetime(2026, 10, 14, tzinfo=UTC)
    for moment in (midnight - timedelta(milliseconds=1), midnight, midnight + 24 * HOUR):
        log(moment)
    sum_up()

    assert told(ask("team"), "requests") == [("research", 1)]


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({"key": [2]}, 2),
        ({"team": [1], "model": ["large"]}, 4),
        ({"provider": ["local"]}, 7),
        ({"user": [9]}, 4),
        ({"tag": ["a"]}, 2),
        ({"key": []}, 7),
    ],
)
def test_filters_leave_in_what_they_name(filters, left):
    log(cost_nano=1)
    log(cost_nano=2, key_id=2, key_name="batch", tags="a,b")
    log(cost_nano=4, model_served="large", user_id=9, user_name="alice")
    sum_up()

    assert ask("team", filters=filters).totals["cost_nano"] == left


def test_a_request_with_two_tags_is_in_two_lines():
    log(cost_nano=1, tags="a,b")
    log(cost_nano=2, tags="b")
    log(cost_nano=4)
    sum_up()

    assert told(ask("tag")) == [("a", 1), ("b", 3)]


def test_two_tags_without_a_line_for_each_would_count_twice():
    with pytest.raises(ValueError, match="Choose one tag"):
        Question(("team",), DAY, DAY, filters={"tag": ["a", "b"]})


def test_two_units_of_time_are_refused():
    with pytest.raises(ValueError, match="one unit of time"):
        Question(("day", "hour"), DAY, DAY)


def test_corrections_are_in_the_sums():
    correct(log(cost_nano=10), cost_nano=-3)
    sum_up()

    assert told(ask("team")) == [("research", 7)]


def test_what_is_not_summed_yet_is_not_in_a_report():
    log(cost_nano=1)
    sum_up()
    moment = as_of.settle()
    log(cost_nano=2)

    assert told(ask("team", moment=moment)) == [("research", 1)]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize(
    "dimensions", [("team",), ("day", "key"), ("month",), ("model", "provider"), ("tag",)]
)
def test_a_report_of_a_moment_is_the_same_after_late_rows_and_corrections(zone, dimensions):
    first, last = days_of("2026-10")
    records = [log(NOON + number * 7 * HOUR, tags="a,b") for number in range(30)]
    records.append(log(key_name="a", team_name="Zoo", tags="a"))
    sum_up()
    moment = as_of.settle()
    before = everything(ask(*dimensions, first=first, last=last, time_zone=zone))

    for record in records[::4]:
        correct(record, cost_nano=-5, input_tokens=3)
        log(record.started_at, cost_nano=17, key_name="Zebra", tags="a,c", team_name="abc")
    unsummed = everything(ask(*dimensions, first=first, last=last, moment=moment, time_zone=zone))
    sum_up()
    again = as_of.settle(moment.at)
    summed = everything(ask(*dimensions, first=first, last=last, moment=again, time_zone=zone))

    assert unsummed == before
    assert summed == before
    assert everything(ask(*dimensions, first=first, last=last, time_zone=zone)) != before


def test_a_moment_that_is_not_summed_yet_is_refused():
    log()
    sum_up()

    with pytest.raises(NotSettled, match="Choose that moment or an earlier one"):
        as_of.settle(as_of.latest().at + timedelta(seconds=1))


def test_before_the_first_sums_there_is_no_moment():
    with pytest.raises(NotSettled, match="Nothing was summed yet"):
        as_of.settle()


def test_a_row_written_late_with_an_early_date_stays_out_of_a_report_that_was_made():
    """A transaction that was open when the report was made."""
    log(cost_nano=1)
    sum_up()
    moment = as_of.settle()
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's writers come one after another.")
    log(cost_nano=2, recorded_at=moment.at - timedelta(seconds=1))
    sum_up()

    assert told(ask("team", moment=as_of.settle(moment.at))) == [("research", 1)]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("UTC", "2026-10-14"),
        ("America/New_York", "2026-11-01"),  # 25 hours long
        ("Europe/Berlin", "2026-03-29"),  # 23 hours long
        ("Asia/Kolkata", "2026-10-14"),
        ("Asia/Kathmandu", "2026-10-14"),
        ("Australia/Lord_Howe", "2026-10-04"),  # the offset changes by half an hour
    ],
)
def test_a_day_is_a_day_of_its_time_zone(zone, day):
    day = date.fromisoformat(day)
    (bucket,) = pieces.by_day(day, day, reports.ZoneInfo(zone))
    just_before, last = bucket.start - timedelta(milliseconds=1), bucket.end - timedelta(seconds=1)
    for cost, moment in enumerate((just_before, bucket.start, last, bucket.end)):
        log(moment, cost_nano=10**cost)
    sum_up()

    assert told(ask("day", first=day, last=day, time_zone=zone)) == [(str(day), 110)]


def test_the_hour_that_a_clock_shows_twice_is_two():
    for hour in (0, 1):
        log(datetime(2026, 10, 25, hour, 30, tzinfo=UTC))
    sum_up()
    day = date(2026, 10, 25)

    assert told(ask("hour", first=day, last=day, time_zone="Europe/Berlin"), "requests") == [
        ("2026-10-25T02:00+01:00", 1), ("2026-10-25T02:00+02:00", 1),
    ]  # fmt: skip


def test_hours_that_are_not_hours_of_utc_are_refused():
    log()
    sum_up()

    with pytest.raises(pieces.HoursDoNotAlign, match="Hours of Asia/Kolkata"):
        ask("hour", time_zone="Asia/Kolkata")


def test_a_month_adds_up_to_the_log_in_every_time_zone():
    first, last = days_of("2026-10")
    for number in range(120):
        log(NOON - timedelta(days=16) + number * timedelta(hours=7.3), cost_nano=number)
    sum_up()

    for zone in ("UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Apia"):
        start, end = (pieces.midnight(day, reports.ZoneInfo(zone)) for day in (first, last))
        expected = UsageRecord.objects.since(start).before(end + 24 * HOUR).totals()
        by_day = ask("day", first=first, last=last, time_zone=zone)
        assert by_day.totals["cost_nano"] == expected["cost_nano"], zone


@pytest.mark.parametrize(
    ("kind", "zone", "is_told"),
    [
        ("hourly", "UTC", True),
        ("hourly", "Europe/Berlin", False),
        ("records", "Europe/Berlin", True),
        ("records", "Asia/Kolkata", False),
    ],
)
def test_what_retention_has_removed_never_counts_as_nothing(kind, zone, is_told):
    log()
    sum_up()
    PurgeReceipt.objects.create(kind=kind, first_day=DAY, last_day=DAY, rows=1)

    with nullcontext() if is_told else pytest.raises(reports.NotKept, match="are kept only since"):
        assert ask("team", time_zone=zone).totals["requests"] == 1


def test_amounts_are_rounded_once_in_the_currency():
    log(cost_nano=1)
    log(cost_nano=2)
    sum_up()

    report = ask("team", currency="EUR", rate=Decimal("0.5"))

    (row,) = report.rows()
    # 1.5 nano to the even one; two roundings would have made 1.
    assert dict(zip(report.columns, row, strict=True))["cost"] == Decimal("0.000000002")
    assert row[-2] == "EUR"


def test_names_are_those_of_the_calls():
    log(key_name="old")
    log(NOON + 5 * HOUR, key_name="new")
    sum_up()

    assert told(ask("key"), "requests") == [("old", 2)]


def test_a_question_survives_being_written_down():
    question = Question(("day", "team"), DAY, DAY, "Asia/Kolkata", {"team": [1]}, "EUR",
                        Decimal("0.900"))  # fmt: skip

    assert Question.from_json(question.as_json()).as_json() == question.as_json()


def test_days_of_another_time_zone_are_added_up_by_the_database():
    for number in range(20):
        log(NOON + number * HOUR / 4, key_id=number)
    sum_up()

    with CaptureQueriesContext(connection) as queries:
        ask("day", time_zone="Europe/Berlin")

    (sums,) = [query["sql"] for query in queries if 'FROM "usage_hourlyusage"' in query["sql"]]
    assert "GROUP BY" not in sums


def test_a_month_of_sums_is_read_without_the_log():
    log()
    sum_up()
    moment = as_of.settle()

    with CaptureQueriesContext(
        connection,
    ) as queries:
        ask("team", moment=moment)

    about_records = [q["sql"] for q in queries if "usage_usagerecord" in q["sql"]]
    assert all("DISTINCT" in sql for sql in about_records)
