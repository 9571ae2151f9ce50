"""Who is turned away when memory is short."""

import logging

import pytest

from gateway import front_door
from gateway.errors import Overloaded
from gateway.memory import FULL, TIMES_BODY, Body, Memory

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
    let_in = sum(Body(memory).may_come(10 * MIB) for _ in range(40))

    assert let_in == 350 // (10 * TIMES_BODY)


def test_f60_what_was_promised_is_in_use_two_looks_later(memory):
    for _ in range(40):
        Body(memory).may_come(10 * MIB)
    memory.look()
    still_promised = not Body(memory).may_come(10 * MIB)
    memory.look()

    assert still_promised
    assert Body(memory).may_come(10 * MIB)


def test_f60_one_large_request_at_a_time_is_always_tried(memory, group):
    group.bytes = group.limit
    memory.look()

    assert [Body(memory).may_come(10 * MIB) for _ in range(2)] == [True, False]


def test_f60_without_a_limit_nothing_is_refused():
    memory = Memory()
    memory.look()

    assert all(Body(memory).may_come(1 << 40) for _ in range(9))
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
        Body(memory).may_come(10 * MIB)

    with pytest.raises(Overloaded):
        await front_door._body(scope, receive=None)


@pytest.fixture
def bodies(memory):
    """Bodies on their way, of which as much has come as there is room for."""

    def come(count, looks=0):
        bodies = [Body(memory) for _ in range(count)]
        came = dict.fromkeys(bodies, 0)
        for size in range(MIB, 11 * MIB, MIB):
            came |= {body: size for body in bodies if body.may_go_on(size)}
            for _ in range(looks):
                memory.look()
        return came

    return come


@pytest.mark.parametrize("looks", [0, 3])
def test_f60_bodies_of_unknown_length_have_as_much_room_as_others(bodies, looks):
    came = bodies(40, looks)

    assert 340 < sum(came.values()) * TIMES_BODY / MIB <= 350


def test_f60_what_is_here_of_a_body_is_promised_until_it_is_in_use(memory, bodies):
    for body in bodies(40):
        body.end()
    memory.look()
    still_promised = not Body(memory).may_go_on(10 * MIB)
    memory.look()

    assert still_promised
    assert Body(memory).may_go_on(10 * MIB)


def test_f60_one_body_of_unknown_length_at_a_time_is_always_tried(memory, group, bodies):
    group.bytes = group.limit
    memory.look()

    assert sorted(bodies(2).values()) == [0, 10 * MIB]


def test_f60_a_body_that_says_its_length_and_is_slow_counts_by_what_has_come(memory, bodies):
    slow = [Body(memory) for _ in range(5)]
    assert all(body.may_come(10 * MIB) for body in slow)
    at_once = all(body.may_go_on(9 * MIB) for body in slow)
    memory.look()
    memory.look()
    nothing_counts = Body(memory).may_come(10 * MIB)
    memory.look()
    memory.look()

    assert at_once
    assert nothing_counts
    assert [body.may_go_on(10 * MIB) for body in [*slow, Body(memory)]] == [*[True] * 5, False]


async def test_f60_the_gate_reads_no_more_of_a_body_than_there_is_room_for(memory, monkeypatch):
    monkeypatch.setattr(front_door.load, "memory", memory)
    read = []

    async def receive():
        read.append(MIB)
        return {"type": "http.request", "body": bytes(MIB), "more_body": len(read) < 10}

    others = Body(memory)
    others.may_go_on(55 * MIB)
    turned_away = front_door.load.turned_away
    with pytest.raises(Overloaded):
        await front_door._body({"headers": []}, receive)
    others.end()
    memory.look()
    memory.look()

    assert len(read) == 4
    assert (memory.coming, front_door.load.turned_away) == (0, turned_away + 1)
    read.clear()
    assert len(await front_door._body({"headers": []}, receive)) == 10 * MIB
