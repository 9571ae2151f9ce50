"""Retention: what is old enough goes, but nothing that is in no sums yet; receipts stay."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from tests.usage.spools import make_adjustment, make_attempt, record_on
from usage import frames, partitions, retention
from usage.models import (
    DailyUsage,
    HourlyAttempts,
    HourlyUsage,
    PurgeReceipt,
    QuarantinedRecord,
    RollupMark,
    StaleHour,
    UsageAdjustment,
    UsageAttempt,
    UsageRecord,
)
from usage.records import encoded

# As in earnest: every step in a transaction of its own.
pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()
OLD, OLDER = TODAY - timedelta(days=40), TODAY - timedelta(days=41)
LATELY = TODAY - timedelta(days=5)


@pytest.fixture(autouse=True)
def _thirty_days(settings):
    settings.COURIER_KEEP_RECORDS_DAYS = 30
    settings.COURIER_KEEP_ROLLUPS_DAYS = 30


def ship(own, *records):
    own.record(*records)
    own.ship()
    partitions.look_after()


def everything_is_in_the_sums():
    StaleHour.objects.all().delete()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
            RollupMark.objects.update_or_create(pk=1, defaults={"upto": cursor.fetchone()[0]})


def receipts(*kinds):
    return list(
        PurgeReceipt.objects.filter(kind__in=kinds)
        .order_by("first_day", "kind")
        .values_list("kind", "first_day", "last_day", "rows")
    )


def days():
    return sorted(UsageRecord.objects.values_list("day", flat=True))


def test_days_that_were_kept_long_enough_go_with_their_attempts_and_adjustments(own):
    old = record_on(OLD, tries=[make_attempt(), make_attempt()])
    ship(own, old, record_on(OLDER), record_on(LATELY, tries=[make_attempt()]))
    make_adjustment(old)
    everything_is_in_the_sums()

    retention.purge_records()

    assert days() == [LATELY]
    assert UsageAttempt.objects.count() == 1
    assert not UsageAdjustment.objects.exists()


def test_a_purge_leaves_receipts(own):
    old = record_on(OLD, tries=[make_attempt(), make_attempt()])
    ship(own, old, record_on(OLD), record_on(OLDER))
    make_adjustment(old)
    everything_is_in_the_sums()

    retention.purge()
    retention.purge()

    assert receipts("records") == [("records", OLDER, OLDER, 1), ("records", OLD, OLD, 2)]
    assert ("attempts", OLD, OLD, 2) in receipts("attempts")
    assert receipts("adjustments") == [("adjustments", OLD, OLD, 1)]


def test_a_day_that_is_not_in_the_sums_is_kept(own):
    ship(own, record_on(OLD))

    assert retention.purge_records() == []
    assert days() == [OLD]


def test_a_day_with_an_adjustment_that_is_not_in_the_sums_is_kept(own):
    ship(own, old := record_on(OLD))
    everything_is_in_the_sums()
    make_adjustment(old)
    StaleHour.objects.create(hour=old.started_at)

    assert retention.purge_records() == []


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no transaction ids")
def test_a_mark_of_another_cluster_proves_nothing(own):
    ship(own, record_on(OLD))
    RollupMark.objects.update_or_create(pk=1, defaults={"upto": 2**60})

    assert retention.purge_records() == []


def test_nothing_is_purged_unless_it_is_asked_for(own, settings):
    settings.COURIER_KEEP_RECORDS_DAYS = settings.COURIER_KEEP_ROLLUPS_DAYS = 0
    settings.COURIER_KEEP_DECISIONS_DAYS = 0
    ship(own, record_on(OLD))
    everything_is_in_the_sums()
    make_hour(OLD)

    assert retention.purge() == []


def test_the_last_two_days_are_kept_whatever_is_asked_for(own, settings):
    settings.COURIER_KEEP_RECORDS_DAYS = 1
    lately_enough = TODAY - timedelta(days=2)
    ship(own, record_on(lately_enough), record_on(LATELY))
    everything_is_in_the_sums()

    retention.purge_records()

    assert days() == [lately_enough]


def test_a_late_copy_of_what_was_purged_is_set_aside_and_not_counted_again(own):
    old, lately = record_on(OLD), record_on(LATELY)
    ship(own, old)
    everything_is_in_the_sums()
    retention.purge_records()

    own.spool.append(encoded(frames.CLOSE, old))
    ship(own, lately)

    assert days() == [LATELY]
    assert "Retention has purged its day" in QuarantinedRecord.objects.get().reason


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no partitions")
def test_a_purged_day_has_no_partition(own):
    ship(own, record_on(OLD))
    everything_is_in_the_sums()

    retention.purge_records()

    left = [made.day for table in partitions.TABLES for made in partitions.existing(table)]
    assert OLD not in left


@pytest.mark.skipif(connection.vendor == "postgresql", reason="PostgreSQL drops whole days")
def test_on_sqlite_no_transaction_deletes_more_than_a_batch(own, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    ship(own, *(record_on(OLD) for _ in range(5)))
    everything_is_in_the_sums()

    retention.purge_records()

    assert not UsageRecord.objects.exists()
    assert receipts("records") == [("records", OLD, OLD, 5)]


def make_hour(day, model=HourlyUsage, **fields):
    hour = datetime.combine(day, datetime.min.time(), UTC)
    return model.objects.create(hour=hour, team_id=1, key_id=1, model="small", **fields)


def test_sums_per_hour_go_after_a_time_of_their_own_and_those_per_day_stay():
    make_hour(OLDER)
    make_hour(OLD)
    kept = make_hour(LATELY)
    make_hour(OLD, HourlyAttempts, received=True)
    DailyUsage.objects.create(day=OLD, team_id=1, key_id=1, model="small")

    retention.purge_hourly_sums()

    assert list(HourlyUsage.objects.all()) == [kept]
    assert not HourlyAttempts.objects.exists()
    assert DailyUsage.objects.count() == 1
    assert receipts("hourly") == [("hourly", OLDER, OLD, 2), ("hourly", OLD, OLD, 1)]
