"""An answer that is recorded, and played to others while it comes and afterwards."""

import asyncio

import pytest

from gateway import tape
from gateway.reply import Reply
from gateway.tape import Answers, Tape

STALE = (b"x-ratelimit-remaining-requests", b"7")
KIND = (b"content-type", b"text/plain")


class Heard:
    """A client, and what it is sent."""

    def __init__(self):
        self.messages = []
        self.is_cut = False
        self.reply = Reply(self.send, [], self.cut)

    async def send(self, message):
        self.messages.append(message)

    def cut(self):
        self.is_cut = True

    @property
    def head(self):
        return next((each for each in self.messages if "status" in each), None)

    @property
    def body(self):
        return b"".join(each.get("body", b"") for each in self.messages)

    @property
    def is_whole(self):
        return bool(self.messages) and self.messages[-1].get("more_body") is False


@pytest.fixture
def room():
    return Answers()


@pytest.fixture
async def first():
    return Heard()


@pytest.fixture
def recorded(room):
    return Tape(room)


@pytest.fixture
def send(recorded, first):
    """Send so much of an answer to the first client."""
    over = recorded.over(first.send)

    async def send(*pieces, head=True, whole=True):
        if head:
            await over({"type": "http.response.start", "status": 201, "headers": [KIND, STALE]})
        for piece in pieces:
            await over({"type": "http.response.body", "body": piece, "more_body": True})
        if whole:
            await over({"type": "http.response.body", "body": b"", "more_body": False})
            recorded.end()

    return send


async def play(recorded):
    heard = Heard()
    async with asyncio.timeout(5):
        return heard, await recorded.play(heard.reply)


async def test_what_was_sent_is_sent_again(recorded, send, first):
    await send(b"one", b"two")

    heard, was_sent = await play(recorded)

    assert was_sent
    assert heard.body == first.body == b"onetwo"
    assert (heard.head["status"], heard.is_whole) == (201, True)


async def test_it_says_that_it_is_a_repeat_and_not_how_things_stood(recorded, send):
    await send(b"one")

    heard, _ = await play(recorded)

    names = [name for name, _ in heard.head["headers"]]
    assert KIND[0] in names
    assert (b"x-courier-replayed", b"true") in heard.head["headers"]
    assert STALE[0] not in names


async def test_who_joins_in_the_middle_hears_the_rest_as_it_comes(recorded, send):
    await send(b"one", whole=False)
    joined = asyncio.ensure_future(play(recorded))
    await asyncio.sleep(0)
    await send(b"two", head=False)

    heard, _ = await joined

    assert (heard.body, heard.is_whole) == (b"onetwo", True)


async def test_where_nothing_was_sent_nothing_is(recorded):
    recorded.end()

    heard, was_sent = await play(recorded)

    assert (was_sent, heard.messages) == (False, [])


async def test_who_waits_for_the_head_of_an_answer_that_never_began_is_told(recorded):
    joined = asyncio.ensure_future(play(recorded))
    await asyncio.sleep(0)
    recorded.end()

    assert (await joined)[1] is False


async def test_an_answer_that_broke_off_never_looks_whole(recorded, send):
    await send(b"one", whole=False)
    recorded.end()

    heard, _ = await play(recorded)

    assert heard.body == b"one"
    assert (heard.is_whole, heard.is_cut) == (False, True)


async def test_one_that_grew_too_large_is_not_begun_again(recorded, send, first, room, monkeypatch):
    monkeypatch.setattr(tape, "MOST_OF_ONE", tape.PER_HEAD + 100)
    await send(b"x" * 20, b"x" * 200, b"x")

    heard, was_sent = await play(recorded)

    assert (was_sent, heard.messages) == (False, [])
    assert (recorded.is_whole, recorded._pieces, room.used) == (False, [], 0)
    assert len(first.body) == 221


async def test_who_listens_to_one_that_grows_too_large_is_cut_off(recorded, send, monkeypatch):
    monkeypatch.setattr(tape, "MOST_OF_ONE", tape.PER_HEAD + 100)
    await send(b"one", whole=False)
    joined = asyncio.ensure_future(play(recorded))
    await asyncio.sleep(0)
    await send(b"x" * 200, head=False, whole=False)

    heard, _ = await joined

    assert (heard.is_whole, heard.is_cut) == (False, True)


async def test_where_there_is_no_room_nothing_is_kept(recorded, send, room, monkeypatch):
    monkeypatch.setattr(tape, "MOST_OF_ALL", 10)
    await send(b"one")

    assert (await play(recorded))[1] is False
    assert room.used == 0


async def test_who_has_left_is_sent_nothing_more(recorded, send, first):
    await send(b"one", whole=False)
    recorded.is_detached = True
    await send(b"two", head=False)

    assert first.body == b"one"
    assert (await play(recorded))[0].body == b"onetwo"


@pytest.mark.parametrize(
    ("is_detached", "is_over", "is_alone", "deserted"),
    [
        (True, False, True, True),
        (False, False, True, False),
        (True, True, True, False),
        (True, False, False, False),
    ],
    ids=["nobody is left", "the first is still there", "it is over", "another listens"],
)
async def test_an_answer_is_deserted_when_the_last_has_left(
    recorded, send, is_detached, is_over, is_alone, deserted
):
    told = []
    recorded.on_deserted = lambda: told.append(True)
    await send(b"one", whole=is_over)
    recorded.is_detached = is_detached
    listening = [asyncio.ensure_future(play(recorded)) for _ in range(1 if is_alone else 2)]
    await asyncio.sleep(0)

    listening[0].cancel()
    await asyncio.wait(listening[:1])

    assert bool(told) is deserted
    recorded.end()
    await asyncio.gather(*listening, return_exceptions=True)


async def test_its_room_is_given_back_once(recorded, send, room):
    await send(b"one")
    assert room.used == recorded.size == tape.PER_HEAD + tape.PER_PIECE + 3

    recorded.discard()
    recorded.discard()

    assert room.used == 0


async def test_one_that_is_kept_is_there_until_its_time_is_over(recorded, send, room):
    await send(b"one")
    room.keep("name", recorded, now=10.0, seconds=5.0)

    assert room.get("name", 14.9) is recorded
    assert room.get("other", 14.9) is None
    assert room.get("name", 15.0) is None
    assert room.used == 0


async def test_one_that_is_kept_makes_those_go_whose_time_is_over(recorded, send, room):
    await send(b"one")
    room.keep("old", recorded, now=10.0, seconds=5.0)

    room.keep("new", Tape(room), now=20.0, seconds=5.0)

    assert room.used == 0


async def test_the_oldest_makes_room_for_a_new_one(recorded, send, room, monkeypatch):
    await send(b"one")
    room.keep("old", recorded, now=10.0, seconds=5.0)
    monkeypatch.setattr(tape, "MOST_OF_ALL", room.used + 10)

    assert room.take(11)
    assert (room.get("old", 11.0), room.used) == (None, 11)


async def test_what_is_written_down_is_played_as_it_was(recorded, send, room):
    await send(b"one", b"t\nwo")
    again = Tape.from_bytes(recorded.to_bytes(), room)

    heard, _ = await play(again)

    assert (heard.body, heard.is_whole, heard.head["status"]) == (b"onet\nwo", True, 201)
    assert KIND in heard.head["headers"]
