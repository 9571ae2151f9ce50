"""What is wrong with the ledger is told of once a day."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from usage import alarms, partitions
from usage.models import Alert, QuarantinedRecord

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _clock():
    with time_machine.travel(NOON, tick=False):
        yield


def set_aside(raw, at=NOON):
    QuarantinedRecord.objects.create(digest=raw, raw=raw.encode(), reason="No.", created_at=at)


def told():
    alarms.look()
    return [(alert.kind, alert.data) for alert in Alert.objects.order_by("pk")]


def test_all_is_well():
    assert told() == []


def test_a_record_that_was_set_aside_is_told_of():
    set_aside("canary")

    assert told() == [("quarantine", {"records": 1})]
    assert "canary" not in Alert.objects.get().text


def test_more_of_the_same_day_are_not_told_of_again():
    set_aside("one")
    told()
    set_aside("two")

    assert len(told()) == 1


def test_another_day_is_told_of_again():
    set_aside("one")
    told()

    with time_machine.travel(NOON + timedelta(days=1), tick=False):
        set_aside("two", at=NOON + timedelta(days=1))
        assert len(told()) == 2


def test_what_was_set_aside_before_today_is_not_told_of():
    set_aside("one", at=NOON - timedelta(days=1))

    assert told() == []


def test_records_without_a_partition_are_told_of(monkeypatch):
    monkeypatch.setattr(partitions, "has_strays", lambda: True)

    assert told() == [("stray", {})]
