"""The ledger: a record and its attempts arrive together, once, and are never changed."""

import pytest
from django.db import DatabaseError, connection, transaction

from tests.usage.spools import make_attempt, make_record
from usage import frames
from usage.append_only import LEDGER
from usage.models import (
    QuarantinedRecord,
    UsageAdjustment,
    UsageAttempt,
    UsageRecord,
)
from usage.records import Record, encoded

pytestmark = pytest.mark.django_db


def attempts(*columns):
    return list(UsageAttempt.objects.values_list(*columns))


def test_every_attempt_becomes_a_row_in_its_order(own):
    failed = make_attempt(provider_name="far", outcome="upstream_timeout", received=False)
    own.record(record := make_record(tries=[failed, make_attempt()]))

    own.ship()

    assert attempts("request_id", "number", "provider_name", "outcome", "received") == [
        (record.request_id, 1, "far", "upstream_timeout", False),
        (record.request_id, 2, "local", "ok", True),
    ]


def test_an_attempt_says_what_it_was_and_whose(own):
    attempt = make_attempt(route_id=3, upstream_key_id=4, price_id=5)
    own.record(make_record(key_id=7, team_id=8, model_served="small", tries=[attempt]))

    own.ship()

    row = UsageAttempt.objects.get()
    assert (row.key_id, row.team_id, row.model_served) == (7, 8, "small")
    assert {name: getattr(row, name) for name in attempt.__slots__} == {
        name: getattr(attempt, name) for name in attempt.__slots__
    }


def test_attempts_are_written_once_however_often_they_are_read(own):
    record = make_record(tries=[make_attempt(), make_attempt()])
    for _ in range(3):
        own.spool.append(encoded(frames.CLOSE, record))

    own.ship()

    assert UsageAttempt.objects.count() == 2


def test_what_attempts_cost_is_not_in_the_bill(own):
    tries = [make_attempt(cost_nano=70, received=False), make_attempt(cost_nano=30)]
    own.record(make_record(cost_nano=30, tries=tries))

    own.ship()

    assert UsageRecord.objects.totals()["cost_nano"] == 30


@pytest.mark.parametrize(
    "poison",
    [make_attempt(started_at="never"), make_attempt(total_ms="long"), "no attempt at all"],
    ids=["a time that is none", "text for a number", "text for an attempt"],
)
def test_a_poison_attempt_loses_neither_its_record_nor_its_neighbors(own, poison):
    own.record(record := make_record(tries=[make_attempt(), poison, make_attempt()]))

    own.ship()

    assert UsageRecord.objects.get().request_id == record.request_id
    assert attempts("number") == [(1,), (3,)]
    assert b'"number":2' in bytes(QuarantinedRecord.objects.get().raw)


def test_an_attempt_that_the_database_refuses_is_set_aside_alone(own):
    tries = [make_attempt(), make_attempt(input_tokens=None), make_attempt()]
    own.record(make_record(), record := make_record(tries=tries), make_record())

    own.ship()

    assert UsageRecord.objects.count() == 3
    assert attempts("request_id", "number") == [(record.request_id, 1), (record.request_id, 3)]
    assert "IntegrityError" in QuarantinedRecord.objects.get().reason


def test_a_record_that_the_database_refuses_takes_its_attempts_along(own):
    own.record(make_record(key_id=None, tries=[make_attempt()]), make_record())

    own.ship()

    assert UsageRecord.objects.count() == 1
    assert not UsageAttempt.objects.exists()
    assert bytes(QuarantinedRecord.objects.get().raw).startswith(frames.CLOSE)


def test_hostile_text_in_an_attempt_is_made_to_fit(own):
    own.record(make_record(tries=[make_attempt(upstream_model="\ud800\x00" + "x" * 1_000_000)]))

    own.ship()

    assert not QuarantinedRecord.objects.exists()
    assert attempts("upstream_model") == [("?\ufffd" + "x" * 198,)]


def test_a_record_with_more_attempts_than_the_format_holds_arrives_without_them(own):
    own.record(record := make_record(tries=[make_attempt()] * 1000))

    own.ship()

    assert UsageRecord.objects.get().request_id == record.request_id
    assert not UsageAttempt.objects.exists()


def test_a_record_of_a_version_without_attempts_is_read():
    assert b'"tries":[]' in encoded(frames.CLOSE, make_record())
    assert Record(**{name: None for name in Record.__slots__ if name != "tries"}).tries == []


def one_of_each(own):
    own.record(make_record(tries=[make_attempt()], decision={"v": 1}))
    own.ship()
    record = UsageRecord.objects.get()
    UsageAdjustment.objects.create(
        identity="manual:1", request_id=record.pk, started_at=record.started_at,
        reason="manual", key_id=1, team_id=1, cost_nano=-5,
    )  # fmt: skip


@pytest.mark.parametrize("table", LEDGER)
def test_no_row_of_the_ledger_can_be_changed(own, table):
    one_of_each(own)

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        execute(f"UPDATE {table} SET recorded_at = recorded_at")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no partitions to drop")
@pytest.mark.parametrize("table", LEDGER)
def test_no_row_of_the_ledger_can_be_deleted(own, table):
    one_of_each(own)

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        execute(f"DELETE FROM {table}")


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
