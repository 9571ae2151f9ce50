"""Saved reports: the days of their periods, and one run for each turn of their schedule."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.core import mail
from django.utils import timezone

from tests.usage.ledger import log, sum_up
from usage import announcements, definitions, export_files, tasks
from usage.models import Export, ReportDefinition, RollupMark

pytestmark = pytest.mark.django_db(transaction=True)

NOVEMBER_3 = datetime(2026, 11, 3, 4, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _folder(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    settings.COURIER_PUBLIC_URL = "https://courier.example.com"


def definition(**fields):
    return ReportDefinition.objects.create(
        **{"name": "Teams", "created_at": NOVEMBER_3 - timedelta(days=60)} | fields
    )


def settled_up_to(moment):
    RollupMark.objects.update_or_create(pk=1, defaults={"at": moment, "upto": 1})


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        ("today", "2026-11-03", "2026-11-03"),
        ("yesterday", "2026-11-02", "2026-11-02"),
        ("last_7_days", "2026-10-27", "2026-11-02"),
        ("last_30_days", "2026-10-04", "2026-11-02"),
        ("this_month", "2026-11-01", "2026-11-03"),
        ("last_month", "2026-10-01", "2026-10-31"),
    ],
)
def test_a_period_means_days(period, first, last):
    question = definitions.question(definition(period=period), NOVEMBER_3)

    assert (str(question.first_day), str(question.last_day)) == (first, last)


def test_days_are_those_of_the_time_zone():
    report = definition(period="today", time_zone="America/New_York")

    assert definitions.question(report, NOVEMBER_3).last_day == date(2026, 11, 2)


def test_the_question_has_all_of_the_definition():
    report = definition(
        first_dimension="day", second_dimension="key", filters={"team": [1], "tag": []},
        currency="EUR", rate=Decimal("0.9"),
    )  # fmt: skip

    question = definitions.question(report, NOVEMBER_3)

    assert question.dimensions == ("day", "key")
    assert (question.filters, question.currency, question.rate) == (
        {"team": [1]}, "EUR", Decimal("0.9"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("schedule", "zone", "began"),
    [
        ("daily", "UTC", "2026-11-03T00:00"),
        ("weekly", "UTC", "2026-11-02T00:00"),
        ("monthly", "UTC", "2026-11-01T00:00"),
        ("daily", "America/New_York", "2026-11-02T05:00"),
        ("monthly", "Asia/Kolkata", "2026-10-31T18:30"),
    ],
)
def test_a_turn_begins_in_the_time_zone_of_the_report(schedule, zone, began):
    expected = datetime.fromisoformat(f"{began}+00:00")

    assert definitions.turn(definitions.Schedule(schedule), zone, NOVEMBER_3) == expected


def test_a_scheduled_report_runs_once_for_each_turn():
    definition(schedule="daily")
    runs = []
    for hours in range(0, 72, 6):
        now = NOVEMBER_3 + timedelta(hours=hours)
        with time_machine.travel(now, tick=False):
            settled_up_to(now)
            runs.append(definitions.run_due())

    assert sum(runs) == 3
    assert Export.objects.filter(is_scheduled=True).count() == 3


def test_two_beats_at_once_run_a_report_once():
    report = definition(schedule="daily")
    settled_up_to(NOVEMBER_3)
    seen_by_both = [ReportDefinition.objects.get(pk=report.pk) for _ in range(2)]

    assert [definitions._run_once(seen) for seen in seen_by_both] == [1, 0]
    assert Export.objects.count() == 1


def test_a_report_waits_until_its_period_is_summed():
    definition(schedule="daily")
    with time_machine.travel(NOVEMBER_3, tick=False):
        ReportDefinition.objects.update(last_run_at=NOVEMBER_3 - timedelta(days=1))
        settled_up_to(NOVEMBER_3.replace(hour=0, minute=30))

        assert definitions.run_due() == 0


def test_a_new_report_waits_for_its_first_turn():
    definition(schedule="monthly", created_at=NOVEMBER_3)
    settled_up_to(NOVEMBER_3 + timedelta(days=2))

    assert definitions.run_due() == 0


def test_a_report_on_demand_is_never_due():
    definition()
    settled_up_to(NOVEMBER_3)

    assert definitions.run_due() == 0


def scheduled(**fields):
    log()
    sum_up()
    report = definition(recipients=["a@example.com", "b@example.com"], **fields)
    return definitions.run(report, is_scheduled=True)


def test_the_recipients_are_told_once_with_a_link_and_no_figures():
    export = scheduled()

    tasks.make_export(export.pk)
    tasks.make_export(export.pk)
    announcements.announce_all()

    (told,) = mail.outbox
    assert told.to == ["a@example.com", "b@example.com"]
    assert told.subject == "[Courier] Report “Teams” is there"
    assert f"https://courier.example.com/admin/usage/export/{export.pk}/change/" in told.body
    assert "research" not in told.body


def test_that_a_report_could_not_be_made_is_told_too():
    export = scheduled(first_dimension="hour", time_zone="Asia/Kolkata")

    tasks.make_export(export.pk)

    (told,) = mail.outbox
    assert "could not be made" in told.subject
    assert "Hours of Asia/Kolkata" in told.body


def test_who_runs_a_report_by_hand_gets_no_mail():
    log()
    sum_up()
    export = definitions.run(definition(recipients=["a@example.com"]))

    tasks.make_export(export.pk)

    assert mail.outbox == []


def test_what_a_worker_made_and_did_not_tell_of_is_told_of():
    export = scheduled()
    export_files.make(export.pk)

    announcements.announce_all()

    assert len(mail.outbox) == 1
    assert Export.objects.get().told_at <= timezone.now()
