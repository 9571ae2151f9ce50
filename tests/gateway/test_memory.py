"""Who is turned away when memory is short."""

import logging

import pytest

from gateway import front_door
from gateway.errors import Overloaded
from gateway.memory import FULL, TIMES_BODY, Memory

MIB = 1 << 20


class Group:
    limit = 1000 * MIB

    def __init__(self, used):
        self.bytes = used

    def used(self):
        return self.bytes


@pytest.fixture
def group():
    return Group(500 * MIB)


@pytest.fixture
def memory(group):
    memory = Memory()
    memory.group = group
    memory.look()
    return memory


def test_f60_it_is_short_above_its_share_and_until_it_is_below(memory, group):
    seen = []
    for used in (FULL - 0.01, FULL + 0.01, FULL - 0.01):
        group.bytes = int(used * group.limit)
        memory.look()
        seen.append(memory.is_short)

    assert seen == [False, True, False]


def test_f60_bodies_that_come_together_are_refused_before_they_have_come(memory):
    let_in = sum(memory.has_room_for(10 * MIB) for _ in range(40))

    assert let_in == 350 // (10 * TIMES_BODY)


def test_f60_what_was_promised_is_in_use_two_looks_later(memory):
    for _ in range(40):
        memory.has_room_for(10 * MIB)
    memory.look()
    still_promised = not memory.has_room_for(10 * MIB)
    memory.look()

    assert still_promised
    assert memory.has_room_for(10 * MIB)


def test_f60_one_large_request_at_a_time_is_always_tried(memory, group):
    group.bytes = group.limit
    memory.look()

    assert [memory.has_room_for(10 * MIB) for _ in range(2)] == [True, False]


def test_f60_without_a_limit_nothing_is_refused():
    memory = Memory()
    memory.look()

    assert all(memory.has_room_for(1 << 40) for _ in range(9))
    assert (memory.is_short, memory.share) == (False, 0)


def test_f60_the_log_tells_once_that_it_is_short(memory, group, caplog):
    group.bytes = group.limit
    with caplog.at_level(logging.WARNING):
        for _ in range(9):
            memory.look()

    (line,) = caplog.messages
    assert "short of memory: 100 %" in line


async def test_f60_the_gate_reads_no_body_that_there_is_no_room_for(memory, monkeypatch):
    monkeypatch.setattr(front_door.load, "memory", memory)
    scope = {"headers": [(b"content-length", b"%d" % (9 * MIB))]}
    for _ in range(40):
        memory.has_room_for(10 * MIB)

    with pytest.raises(Overloaded):
        await front_door._body(scope, receive=None)
