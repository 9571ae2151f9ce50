"""What was spent and is on its way to the ledger."""

from pathlib import Path

import pytest

from tests.usage.spools import make_record
from usage import pending
from usage.pending import Pending
from usage.records import Attempt
from usage.spool import Segment


@pytest.fixture
def segment():
    return Segment(Path("1.spool"))


def spend(told, segment, *, key_id=1, cost_nano=10):
    """A request is closed, a hundred bytes further in the segment."""
    segment.written += 100
    told.add(make_record(key_id=key_id, cost_nano=cost_nano), segment)


def of_key(told, key_id=1):
    sums = told.sums()
    return sum(nano for entry, nano in sums.items() if entry.startswith(f"key:{key_id}@"))


def test_what_was_not_shipped_is_pending(segment):
    told = Pending()
    spend(told, segment)
    spend(told, segment)

    assert of_key(told) == 20


def test_what_was_shipped_is_not(segment):
    told = Pending()
    spend(told, segment)
    told.sums()
    spend(told, segment)
    segment.shipped = 100

    assert of_key(told) == 10


def test_a_long_wait_takes_an_entry_for_each_key_and_segment(segment, monkeypatch):
    monkeypatch.setattr(pending, "MANY", 4)
    told, other = Pending(), Segment(Path("2.spool"))
    for _ in range(20):
        spend(told, segment)
        spend(told, segment, key_id=2)
        spend(told, other)
        told.sums()

    assert len(told._unshipped) <= 2 * 4 + 3
    assert (of_key(told), of_key(told, 2)) == (400, 200)


def test_what_nobody_asks_about_does_not_pile_up(segment, monkeypatch):
    """Without budgets, a process that shares them with no other is never asked."""
    monkeypatch.setattr(pending, "MANY", 4)
    told = Pending()
    for _ in range(50):
        spend(told, segment)
        segment.shipped = segment.written

    assert len(told._new) <= 4
    assert told.sums() == {}


def test_what_became_one_entry_is_pending_until_the_last_of_it_is_shipped(segment, monkeypatch):
    monkeypatch.setattr(pending, "MANY", 1)
    told = Pending()
    for _ in range(2):
        spend(told, segment)
        told.sums()

    segment.shipped = 100
    assert of_key(told) == 20
    segment.shipped = 200
    assert told.sums() == {}


def test_what_attempts_cost_is_pending_for_their_upstream_keys(segment):
    told = Pending()
    segment.written += 100
    record = make_record(cost_nano=50)
    for key_id, cost_nano in ((7, 10), (8, 20), (7, 3), (None, 9)):
        attempt = Attempt(record.started_at, "alpha", "tiny", "ok", upstream_key_id=key_id)
        attempt.cost_nano = cost_nano
        record.tries.append(attempt)
    told.add(record, segment)

    sums = {entry.partition("@")[0]: nano for entry, nano in told.sums().items()}
    assert (sums["upstream:7"], sums["upstream:8"]) == (13, 20)
    assert sums[f"key:{record.key_id}"] == 50
    segment.shipped = 100
    assert told.sums() == {}
