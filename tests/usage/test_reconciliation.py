"""What differs between the log and its sums is found, told, and put right."""

from datetime import UTC, date, datetime, timedelta

import pytest
import time_machine
from django.core.management import CommandError, call_command

from tests.usage.agreement import all_agree
from tests.usage.spools import record_on
from tests.usage.summing import sum_up
from usage import reconciliation, tasks
from usage.models import (
    Alert,
    DailyTagUsage,
    DailyUsage,
    HourlyTagUsage,
    HourlyUsage,
    PurgeReceipt,
    Reconciliation,
)

# On PostgreSQL a roll-up sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

MONDAY = date(2026, 11, 16)
TUESDAY = date(2026, 11, 17)


@pytest.fixture
def monday(own):
    """A day whose sums are those of its log."""
    with time_machine.travel(datetime(2026, 11, 17, 0, 40, tzinfo=UTC)):
        own.record(record_on(MONDAY, tags="a"), record_on(MONDAY, cost_nano=7, key_id=2))
        own.ship()
        sum_up()
        yield own


def reconcile(*arguments):
    """The exit code."""
    try:
        call_command("reconcile", *arguments)
    except SystemExit as end:
        return end.code
    return 0


def test_sums_that_are_those_of_the_log_differ_in_nothing(monday):
    comparison = reconciliation.compare_day(MONDAY)

    assert comparison.findings == []
    assert comparison.log == (2, 30, 20_007)
    assert set(comparison.summed.values()) == {comparison.log}


@pytest.mark.parametrize(
    "sheet",
    [HourlyUsage, DailyUsage, HourlyTagUsage, DailyTagUsage],
    ids=lambda sheet: sheet.__name__,
)
def test_a_sum_that_was_changed_is_found(monday, sheet):
    sheet.objects.filter(key_id=1).update(cost_nano=1)

    [finding] = reconciliation.compare_day(MONDAY).findings

    assert "cost_nano 20,000 by the log and 1 in the sums" in finding.text
    assert finding.drift_nano == 19_999


def test_a_sum_that_is_missing_is_found(monday):
    DailyUsage.objects.filter(key_id=2).delete()

    [finding] = reconciliation.compare_day(MONDAY).findings

    assert "requests 1 by the log and 0 in the sums" in finding.text


def test_a_sum_of_nothing_is_found(monday):
    DailyUsage.objects.filter(key_id=2).update(key_id=3)

    assert len(reconciliation.compare_day(MONDAY).findings) == 2


def test_what_is_not_rolled_up_yet_is_no_difference(monday):
    monday.record(record_on(MONDAY))
    monday.ship()

    assert reconciliation.compare_day(MONDAY).findings == []


def test_hours_that_retention_removed_are_no_difference(monday):
    HourlyUsage.objects.all().delete()
    HourlyTagUsage.objects.all().delete()
    PurgeReceipt.objects.create(kind="hourly", first_day=MONDAY, last_day=MONDAY, rows=1)

    comparison = reconciliation.compare_day(MONDAY)

    assert comparison.findings == []
    assert comparison.log.requests == 2


def test_the_command_tells_that_all_agree(monday, capsys):
    assert reconcile("--day", "2026-11-16") == 0

    out = capsys.readouterr().out
    assert out.count("2 requests, 30 tokens") == 3
    assert "Log and sums agree." in out


def test_the_command_exits_with_1_if_something_differs(monday):
    DailyUsage.objects.filter(key_id=1).update(requests=5)

    assert reconcile() == 1


def test_the_command_puts_right_what_differs(monday):
    DailyUsage.objects.filter(key_id=1).update(requests=5)

    assert reconcile("--fix") == 0
    assert all_agree()
    assert Reconciliation.objects.get().fixed


def test_the_command_makes_everything_anew(monday):
    HourlyUsage.objects.all().delete()
    DailyUsage.objects.update(errors=9)

    assert reconcile("--rebuild") == 0
    assert all_agree()


def test_sums_of_days_whose_log_is_gone_outlive_a_rebuild(monday):
    old = DailyUsage.objects.filter(key_id=2).get()
    old.pk, old.day = None, MONDAY - timedelta(days=30)
    old.save()

    reconcile("--rebuild")

    assert DailyUsage.objects.filter(day=old.day).exists()


@pytest.mark.parametrize("day", ["2026-10-01", "yesterday", "2026-02-31"])
def test_a_day_that_the_log_does_not_have_is_refused(monday, day):
    with pytest.raises(CommandError, match="day|log"):
        call_command("reconcile", "--day", day)


def test_an_empty_log_is_nothing_to_compare(capsys):
    assert reconcile() == 0
    assert "nothing to compare" in capsys.readouterr().out


def test_the_result_is_remembered(monday):
    DailyUsage.objects.filter(key_id=1).update(cost_nano=20_010)

    reconcile()

    result = Reconciliation.objects.get()
    assert (result.first_day, result.last_day) == (MONDAY, TUESDAY)
    assert (result.drift_nano, result.fixed) == (10, False)
    assert len(result.findings["ledger"]) == 1


def test_only_so_many_results_are_remembered(monday, monkeypatch):
    monkeypatch.setattr(reconciliation, "KEPT", 2)
    for _ in range(3):
        reconcile()

    assert Reconciliation.objects.count() == 2


def test_every_night_what_differs_is_made_anew_and_told(monday):
    HourlyUsage.objects.filter(key_id=1).update(cost_nano=0)

    tasks.reconcile_closed_days()

    assert all_agree()
    assert Alert.objects.get().kind == Alert.Kind.DRIFT


def test_every_five_minutes_the_last_hours_are_compared(monday):
    late = datetime(2026, 11, 16, 23, 50, tzinfo=UTC)
    hour = HourlyUsage.objects.filter(key_id=1).get()
    hour.pk, hour.hour = None, late.replace(minute=0)
    hour.save()

    tasks.reconcile_lately()

    assert all_agree()
    assert Reconciliation.objects.get().fixed


def test_nobody_is_told_when_all_is_well(monday):
    tasks.reconcile_lately()
    tasks.reconcile_closed_days()

    assert not Alert.objects.exists()
    assert Reconciliation.objects.count() == 2
