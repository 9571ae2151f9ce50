"""Why requests went as they did: from the spool to a table of its own, and out of it in time."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from django.db import connection

from lib.ids import uuid7
from tests.usage.spools import make_record, record_on
from usage import frames, partitions, retention
from usage.models import (
    DailyUsage,
    Decision,
    HourlyUsage,
    PurgeReceipt,
    QuarantinedRecord,
    UsageRecord,
)
from usage.records import Refusal, encoded

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()
WHY = {"v": 1, "revision": 7, "targets": [[1, 2, 3, "local", "tiny"]]}


def make_refusal(**fields):
    told = {
        "request_id": uuid7(),
        "refusal": "rate_limit_exceeded",
        "status": 429,
        "key_id": 1,
        "key_name": "notebook",
        "team_id": 1,
        "team_name": "research",
        "operation": "chat",
        "model_asked": "small",
        "decision": WHY,
    }
    return Refusal(**told | fields)


def test_a_decision_travels_with_its_record(own):
    own.record(record := make_record(decision=WHY))

    own.ship()

    decision = Decision.objects.get()
    assert (decision.pk, orjson.loads(decision.told)) == (record.request_id, WHY)
    assert (decision.refusal, decision.key_id) == ("", None)


def test_a_record_without_one_is_a_row_all_the_same(own):
    own.record(make_record())

    own.ship()

    assert UsageRecord.objects.count() == 1
    assert not Decision.objects.exists()


def test_a_refusal_is_a_decision_and_nothing_else(own):
    own.recorder.refuse(make_refusal())

    own.ship()

    decision = Decision.objects.get()
    assert (decision.refusal, decision.status) == ("rate_limit_exceeded", 429)
    assert (decision.key_name, decision.team_name) == ("notebook", "research")
    assert not UsageRecord.objects.exists()
    assert not HourlyUsage.objects.exists()
    assert not DailyUsage.objects.exists()


def test_what_was_shipped_before_adds_nothing(own):
    own.record(make_record(decision=WHY))
    own.recorder.refuse(make_refusal())
    own.ship()

    own.spool.segments[0].shipped = 0
    own.ship()

    assert Decision.objects.count() == 2


@pytest.mark.parametrize("poison", [7, "text", [1]])
def test_a_decision_that_is_none_costs_its_record_nothing(own, poison):
    own.record(make_record(decision=poison), make_record(decision=WHY))

    own.ship()

    assert UsageRecord.objects.count() == 2
    assert Decision.objects.count() == 1
    assert "not an object" in QuarantinedRecord.objects.get().reason


def test_a_decision_that_the_database_refuses_costs_the_others_nothing(own):
    with connection.cursor() as cursor:
        cursor.execute(refuse_the_word("poison"))
    own.record(make_record(decision={"v": "poison"}), make_record(decision=WHY))

    own.ship()

    assert UsageRecord.objects.count() == 2
    assert [orjson.loads(each.told) for each in Decision.objects.all()] == [WHY]
    assert QuarantinedRecord.objects.count() == 1


def refuse_the_word(word):
    if connection.vendor == "postgresql":
        pytest.skip("A check that a database would make is made by a trigger of SQLite.")
    return (
        f"CREATE TEMPORARY TRIGGER no_{word} BEFORE INSERT ON usage_decision "
        f"WHEN new.told LIKE '%{word}%' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )


def test_a_refusal_that_cannot_be_read_is_set_aside(own):
    own.spool.append(frames.REFUSED + b'{"request_id": "none"}')
    own.record(make_record())

    own.ship()

    assert UsageRecord.objects.count() == 1
    assert QuarantinedRecord.objects.count() == 1


def test_a_decision_that_is_too_long_is_left_out_of_its_record():
    record = make_record(decision={"names": ["x" * 190] * 1000})

    assert orjson.loads(encoded(frames.CLOSE, record)[1:])["decision"] is None


def test_text_that_no_database_holds_arrives(own):
    own.record(make_record(decision={"v": 1, "parameters": ["a\x00b", "\ud800"]}))

    own.ship()

    assert orjson.loads(Decision.objects.get().told)["parameters"] == ["a\x00b", "?"]


@pytest.fixture
def aged(own):
    """Decisions of 40, of 20 and of 5 days ago."""
    for age in (40, 20, 5):
        own.record(record_on(TODAY - timedelta(days=age), decision=WHY))
    own.ship()
    partitions.look_after()


def ages():
    return [
        (TODAY - datetime.fromtimestamp((each.pk.int >> 80) / 1000, UTC).date()).days
        for each in Decision.objects.order_by("request_id")
    ]


def test_decisions_are_kept_for_a_time_of_their_own(aged, settings):
    settings.COURIER_KEEP_RECORDS_DAYS, settings.COURIER_KEEP_DECISIONS_DAYS = 0, 30

    retention.purge()

    assert ages() == [20, 5]
    assert UsageRecord.objects.count() == 3
    receipt = PurgeReceipt.objects.get()
    assert (receipt.kind, receipt.rows) == ("decisions", 1)


def test_decisions_are_kept_no_longer_than_the_log(aged, settings):
    settings.COURIER_KEEP_RECORDS_DAYS, settings.COURIER_KEEP_DECISIONS_DAYS = 10, 0

    retention.purge_decisions()

    assert ages() == [5]


def test_decisions_are_kept_for_good_where_nothing_else_is_said(aged, settings):
    settings.COURIER_KEEP_RECORDS_DAYS = settings.COURIER_KEEP_DECISIONS_DAYS = 0

    assert retention.purge_decisions() == []
    assert ages() == [40, 20, 5]
