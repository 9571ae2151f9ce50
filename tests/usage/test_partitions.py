"""The days of the log on PostgreSQL: made ahead, and mended when one was missed."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection

from tests.usage.spools import make_attempt, make_record, record_on
from usage import partitions
from usage.models import UsageAttempt, UsageRecord
from usage.partitions import Partition

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no partitions"),
]

RECORDS, ATTEMPTS = partitions.TABLES
LONG_AGO = date(2026, 2, 28)


def today():
    return datetime.now(UTC).date()


def days_of(table):
    return [partition.day for partition in partitions.existing(table)]


def partition_of(record):
    return value("SELECT tableoid::regclass::text FROM usage_usagerecord WHERE request_id = %s",
                 record.request_id)  # fmt: skip


def value(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchone()[0]


@pytest.mark.parametrize("table", partitions.TABLES)
def test_the_next_days_have_a_partition_from_the_start(table):
    ahead = {today() + timedelta(days=days) for days in range(partitions.AHEAD_DAYS + 1)}

    assert ahead <= set(days_of(table))


@pytest.mark.parametrize("table", partitions.TABLES)
def test_a_partition_that_is_missing_is_made(table):
    tomorrow = Partition(table, today() + timedelta(days=1))
    partitions.drop(tomorrow)

    partitions.look_after()
    partitions.look_after()

    assert days_of(table).count(tomorrow.day) == 1


def test_a_record_lies_in_the_partition_of_its_day(own):
    own.record(record := make_record())

    own.ship()

    assert partition_of(record) == f"usage_usagerecord_{today():%Y%m%d}"


def test_f47_a_record_without_a_partition_is_caught_and_moved_when_there_is_one(own):
    record = record_on(LONG_AGO, tries=[make_attempt()])
    own.record(record)
    own.ship()
    caught_in = partition_of(record)
    assert partitions.has_strays()

    partitions.look_after()

    assert caught_in == "usage_usagerecord_default"
    assert partition_of(record) == "usage_usagerecord_20260228"
    assert not partitions.has_strays()
    assert (UsageRecord.objects.count(), UsageAttempt.objects.count()) == (1, 1)


def test_a_row_that_is_moved_keeps_the_transaction_that_wrote_it(own):
    own.record(record_on(LONG_AGO))
    own.ship()
    before = value("SELECT x::text FROM usage_usagerecord")

    partitions.look_after()

    assert value("SELECT x::text FROM usage_usagerecord") == before


def test_a_missed_day_is_told_in_the_log(own, caplog):
    own.record(record_on(LONG_AGO))
    own.ship()

    partitions.look_after()

    assert "usage_usagerecord had no partition for 2026-02-28" in caplog.text


def test_a_new_partition_refuses_changes_as_its_table_does(own):
    own.record(record_on(LONG_AGO))
    own.ship()
    partitions.look_after()

    names = value(
        "SELECT array_agg(tgrelid::regclass::text ORDER BY 1) FROM pg_trigger "
        "WHERE tgname = 'usage_usagerecord_append_only' AND tgenabled = 'O'"
    )

    everywhere = [RECORDS, *(p.name for p in partitions.existing(RECORDS))]
    assert set(names) == {*everywhere, "usage_usagerecord_default"}


@pytest.mark.parametrize("model", [UsageRecord, UsageAttempt])
def test_the_indexes_of_a_model_are_those_of_the_partitioned_table(model):
    table = model._meta.db_table
    names = value("SELECT array_agg(indexname::text) FROM pg_indexes WHERE tablename = %s", table)

    expected = {index.name for index in model._meta.indexes}
    assert set(names) >= {*expected, f"{table}_pkey", f"{table}_x"}


@pytest.mark.parametrize("table", [*partitions.TABLES, "usage_usageadjustment"])
def test_what_a_transaction_wrote_is_found_by_an_index(table):
    indexed = value("SELECT array_agg(indexdef) FROM pg_indexes WHERE tablename = %s", table)

    assert any(f"ON ONLY public.{table} USING btree (x)" in line or
               f"ON public.{table} USING btree (x)" in line for line in indexed)  # fmt: skip


def test_one_day_is_read_from_one_partition(own):
    plan = UsageRecord.objects.on(today()).explain()

    assert f"usage_usagerecord_{today():%Y%m%d}" in plan
    assert "usage_usagerecord_default" not in plan


def test_the_newest_are_read_in_order_without_sorting(own):
    # The tables of a test are so small that anything would be quick.
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")

    plan = UsageRecord.objects.all()[:50].explain()

    assert "Merge Append" in plan
    assert "->  Sort" not in plan


@pytest.mark.django_db(transaction=True)
def test_the_partitions_can_be_taken_back_and_made_again_without_loss(own):
    own.record(make_record(tries=[make_attempt()]), record_on(LONG_AGO))
    own.ship()
    before = list(UsageRecord.objects.values())

    call_command("migrate", "usage", "0003_ledger", verbosity=0)
    assert partitions.partitioned() == []
    call_command("migrate", verbosity=0)

    assert list(UsageRecord.objects.values()) == before
    assert UsageAttempt.objects.count() == 1
    assert LONG_AGO in days_of(RECORDS)
