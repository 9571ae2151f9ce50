"""Request ids that sort by time and carry their day."""

from datetime import UTC, datetime, timedelta
from uuid import RFC_4122

import time_machine

from lib.ids import lowest_at, made_at, uuid7

NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def test_an_id_is_a_uuid_of_version_7():
    request_id = uuid7()

    assert request_id.version == 7
    assert request_id.variant == RFC_4122


def test_ids_of_one_millisecond_differ():
    with time_machine.travel(NOON, tick=False):
        assert len({uuid7() for _ in range(1000)}) == 1000


def test_a_later_id_sorts_after_an_earlier_one():
    with time_machine.travel(NOON, tick=False) as clock:
        ids = []
        for _ in range(100):
            ids.append(uuid7())
            clock.shift(0.001)

    assert ids == sorted(ids)
    assert [str(each) for each in ids] == sorted(str(each) for each in ids)


def test_an_id_tells_when_it_was_made():
    with time_machine.travel(NOON, tick=False):
        request_id = uuid7()

    assert made_at(request_id) == NOON


def test_the_lowest_id_of_a_moment_parts_earlier_from_later():
    with time_machine.travel(NOON - timedelta(milliseconds=1), tick=False):
        before = uuid7()
    with time_machine.travel(NOON, tick=False):
        at_noon = uuid7()

    assert before < lowest_at(NOON) <= at_noon
