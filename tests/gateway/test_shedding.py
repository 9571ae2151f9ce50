"""Who is turned away, and when."""

import asyncio
import time

import pytest

from gateway import shedding
from gateway.shedding import FEW, MOST_ROOM, PASSES, TURN_S, Load, answer_to, room_after


def after(room, *turns):
    """The room after turns, each told as the requests that it began and its seconds of work."""
    for begun, worked_s in turns:
        room = room_after(room, begun, worked_s)
    return room


def busy():
    """A load that is serving many."""
    load = Load()
    load.open = 1000
    return load


def test_r35_while_turns_are_short_nobody_is_turned_away():
    assert after(MOST_ROOM, *[(300, 0.9 * TURN_S)] * 200) == MOST_ROOM


def test_r35_a_turn_that_was_too_long_leaves_room_for_what_fits_into_one():
    assert after(100, (80, 1.6 * TURN_S)) == pytest.approx(50)


def test_r35_one_pause_halves_the_room_at_most_and_not_for_long():
    paused = after(MOST_ROOM, (1, 10))

    assert paused == MOST_ROOM / 2
    assert after(paused, *[(1, 0.001)] * 4) == MOST_ROOM


def test_r35_where_old_work_fills_the_turns_one_new_request_still_is_let_in():
    assert after(MOST_ROOM, *[(1, 4 * TURN_S)] * 50) == 1


def test_r35_when_the_queue_has_gone_everybody_is_let_in_again():
    full = after(MOST_ROOM, *[(200, 4 * TURN_S)] * 20)

    assert after(full, *[(1, 0.001)] * 50) == MOST_ROOM


@pytest.mark.parametrize("offered", [1.5, 3, 6])
def test_r35_as_many_are_turned_away_as_are_too_many(offered):
    """A model of a loop in which serving takes 0.5 ms and turning away takes a twentieth."""
    room, served, spent, worked, longest = MOST_ROOM, 0.0, 0.0, TURN_S, 0.0
    for turn in range(500):
        arrived = worked * offered / 0.0005
        begun = min(arrived, int(room))
        worked = begun * 0.0005 + (arrived - begun) * 0.000025
        room = room_after(room, begun, worked)
        served, spent = served + begun * 0.0005, spent + worked
        longest = max(longest, worked) if turn > 5 else 0.0

    assert served / spent > (1 - offered / 20) * 0.9
    assert longest < 2 * TURN_S


async def test_r35_in_one_turn_as_many_are_let_in_as_there_is_room_for():
    load = busy()
    load.room = 20

    assert [load.turns_away() for _ in range(25)] == [False] * 20 + [True] * 5


async def test_r35_in_the_next_turn_there_is_room_again():
    load = busy()
    load.room = 20
    for _ in range(25):
        load.turns_away()
    await asyncio.sleep(0.05)

    assert not load.turns_away()


async def test_r35_few_requests_are_no_overload():
    load = Load()
    load.room = 1
    let_in = [not load.turns_away() for _ in range(FEW + 1)]

    assert let_in == [True] * FEW + [False]


async def test_r35_who_has_been_answered_is_not_counted_any_more():
    load = Load()
    load.room = 1
    for _ in range(FEW):
        load.turns_away()

    load.ended(1)

    assert [load.turns_away(), load.turns_away()] == [False, True]


async def test_f60_while_memory_is_short_only_a_single_request_is_let_in():
    load = Load()
    load.memory.is_short = True

    assert [load.turns_away(), load.turns_away()] == [False, True]


async def test_r35_what_waits_for_a_provider_takes_no_room():
    load = Load()
    for _ in range(40):
        assert not any(load.turns_away() for _ in range(50))
        await asyncio.sleep(0.001)

    assert load.room == MOST_ROOM


async def test_r35_a_turn_that_works_too_long_is_seen_to():
    load = Load()
    for _ in range(100):
        load.turns_away()
    for _ in range(4):
        asyncio.get_running_loop().call_soon(_block, 0.05)
    for _ in range(2 * PASSES):
        await asyncio.sleep(0)

    assert load.room == MOST_ROOM / 2


async def test_r35_how_many_are_turned_away_now_is_known(monkeypatch):
    monkeypatch.setattr(shedding, "LOOK_EVERY_S", 0.01)
    load = Load()
    watching = asyncio.create_task(load.watch())
    await asyncio.sleep(0)
    load.turns_away()
    load.turned_away += 3
    while not load.share:
        await asyncio.sleep(0.001)
    watching.cancel()

    assert load.share == 0.75


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/v1/chat/completions", b'"code":"overloaded"'),
        ("/v1/messages", b'"type":"overloaded_error"'),
        ("/v1beta/models/x:generateContent", b"UNAVAILABLE"),
    ],
)
def test_r35_every_client_is_told_in_its_own_format(path, part):
    assert part in answer_to(path)


def _block(seconds):
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
