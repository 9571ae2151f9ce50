"""Who is turned away, and when."""

import asyncio
import time

import pytest

from gateway import shedding
from gateway.shedding import (
    A_TURN,
    FEW,
    LONG_TURN_S,
    LONGEST_WAIT_S,
    MOST_ROOM,
    SAMPLE,
    Load,
    answer_to,
    room_for,
)


class Line:
    """Requests, by number, and which of them have begun."""

    def __init__(self, load):
        self.load = load
        self.begun = []

    def come(self, *numbers, work_s=0.0):
        for number in numbers:
            self.load.begin(lambda number=number: self._begin(number, work_s))

    def _begin(self, number, work_s):
        self.begun.append(number)
        _block(work_s)


@pytest.fixture
def line():
    return Line(Load())


async def turn():
    """Let the loop pass once."""
    await asyncio.sleep(0)


async def test_r35_a_turn_begins_a_few_requests_and_the_next_one_goes_on(line):
    line.come(*range(2 * A_TURN + 1))
    begun = []
    for _ in range(3):
        begun.append(len(line.begun))
        await turn()

    assert begun == [A_TURN, 2 * A_TURN, 2 * A_TURN + 1]


async def test_r35_they_begin_in_the_order_in_which_they_came(line):
    line.come(*range(20))
    await turn()
    line.come(*range(20, 40))
    while line.load.waiting:
        await turn()

    assert line.begun == list(range(40))


async def test_r35_who_comes_when_nobody_waits_begins_at_once(line):
    line.come(*range(A_TURN + 1))
    for _ in range(3):
        await turn()
    line.come(100)

    assert line.begun[-1] == 100


async def test_r35_who_comes_when_the_last_of_the_line_have_begun_need_not_wait(line):
    line.come(*range(A_TURN + 1))
    await turn()
    line.come(100)

    assert line.begun[-1] == 100


async def test_r35_one_that_cannot_begin_does_not_hold_up_the_others(line):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    line.come(*range(A_TURN))
    line.load.begin(lambda: 1 / 0)
    line.come(*range(3 * A_TURN))
    for _ in range(5):
        await turn()

    assert [type(each["exception"]) for each in told] == [ZeroDivisionError]
    assert len(line.begun) == 4 * A_TURN


async def test_r35_after_a_turn_of_much_work_only_one_request_begins(line):
    line.come(*range(A_TURN), work_s=1.1 * LONG_TURN_S / A_TURN)
    line.come(*range(A_TURN))
    await turn()
    line.come(100)

    assert len(line.begun) == A_TURN + 1
    assert 100 not in line.begun


async def test_r35_the_work_of_each_turn_counts_for_itself(line):
    line.come(*range(2 * A_TURN), work_s=0.6 * LONG_TURN_S / A_TURN)
    line.come(*range(A_TURN))
    await turn()
    await turn()

    assert len(line.begun) == 3 * A_TURN


async def test_r35_a_turn_in_which_the_machine_did_other_things_is_no_long_one(line):
    line.come(*range(A_TURN))
    time.sleep(2 * LONG_TURN_S)
    line.come(*range(A_TURN))
    await turn()

    assert len(line.begun) == 2 * A_TURN


async def test_r35_turned_away_is_who_would_wait_too_long(line):
    line.load.room = 3
    line.come(*range(A_TURN + 2))
    before = line.load.turns_away()
    line.come(100)

    assert (before, line.load.turns_away()) == (False, True)


async def test_r35_when_the_line_has_gone_everybody_is_let_in_again(line):
    line.load.room = 3
    line.come(*range(A_TURN + 3))
    assert line.load.turns_away()
    await turn()

    assert not line.load.turns_away()


@pytest.mark.parametrize(("per_s", "room"), [(10_000, 10_000 * LONGEST_WAIT_S), (100, FEW)])
def test_r35_there_is_room_for_as_many_as_begin_in_time_and_always_for_a_few(per_s, room):
    assert room_for(SAMPLE, SAMPLE / per_s) == pytest.approx(room, abs=1)


async def test_r35_the_room_follows_how_fast_requests_begin(line):
    line.come(*range(2 * SAMPLE + 2 * A_TURN), work_s=0.001)
    line.come(*range(2 * SAMPLE + 2 * A_TURN))
    rooms = set()
    while line.load.waiting:
        await turn()
        rooms.add(line.load.room)

    assert FEW in rooms
    assert line.load.room > MOST_ROOM


async def test_r35_while_nobody_waits_nothing_is_learned_of_the_room(line):
    for _ in range(2 * SAMPLE):
        line.come(*range(A_TURN + 1))
        await asyncio.sleep(0.001)

    assert line.load.room == MOST_ROOM


async def test_f60_while_memory_is_short_only_a_single_request_is_let_in():
    load = Load()
    load.memory.is_short = True

    assert [load.turns_away(), load.turns_away()] == [False, True]


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
