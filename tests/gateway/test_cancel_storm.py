"""F57: whoever is cancelled, once, twice or while it settles, is settled once, and all of it."""

import asyncio
import collections
import gc
import os
import random
import tracemalloc
from typing import NamedTuple

import pytest
import redis
from django.conf import settings

from accounts import states
from accounts.principals import authenticate
from tests import factories
from tests.e2e.client import Call, try_to_ask
from tests.fakes.upstream import DONE, HELLO, OPENING, STOP, USAGE, Answer, Pause, completion
from tests.faults.figures import figure
from tests.gateway.conftest import WITHIN_S, in_thread, until
from tests.soak import trials
from usage import recorder
from usage.models import UsageRecord

ROUNDS = trials(4, 100)
AT_ONCE = 12
STREAM = (OPENING, Pause(0.01), HELLO, Pause(0.01), HELLO, Pause(0.01), STOP, USAGE, DONE)


def answer(request):
    if request.json.get("stream"):
        return Answer(STREAM)
    return Answer((completion(),), before=(Pause(random.uniform(0, 0.03)),))


async def cancel_some(front_door, chance, over):
    """Cancel what is being served, again and again, half of it a second time at once."""
    while not over.is_set():
        for task in list(front_door.open):
            if chance.random() < 0.3:
                task.cancel()
                if chance.random() < 0.5:
                    asyncio.get_running_loop().call_soon(task.cancel)
        await asyncio.sleep(chance.uniform(0, 0.02))


async def test_f57_whatever_is_cancelled_however_often_is_settled_once(courier, key, upstream):
    upstream.default = answer
    await courier.make(
        lambda: [
            factories.make_limit(key=key, metric="concurrency", amount=AT_ONCE),
            factories.make_limit(key=key, metric="tokens", amount=10**7, window_s=86400),
        ]
    )
    chance, over = random.Random(57), asyncio.Event()
    front_door = courier.application._front_door
    cancelling = asyncio.create_task(cancel_some(front_door, chance, over))
    replies = []
    for _ in range(ROUNDS):
        asked = (
            try_to_ask(courier, key=key.secret, stream=number % 2 == 0) for number in range(AT_ONCE)
        )
        replies += await asyncio.gather(*asked)
    over.set()
    await cancelling
    await until(lambda: not front_door.open and not upstream.busy_connections)
    principal = await authenticate(key.secret)
    await until_free(principal)

    expected = {reply.request_id for reply in replies if reply.whole}
    records = await records_of(expected)
    ended = collections.Counter(record.end_reason for record in records)
    used = {state.metric: state.amount - state.remaining for state in await look(principal)}
    figure("F57", f"{len(replies)} requests: {dict(ended)}; held {used['concurrency']}", "0 held")
    assert len({record.pk for record in records}) == len(records)
    assert used["concurrency"] == 0
    assert used["tokens"] == sum(record.input_tokens + record.output_tokens for record in records)
    assert set(ended) - {"complete"} != set()
    assert len(records) <= len(replies)


@pytest.mark.parametrize("how", ["left", "cancelled"])
async def test_f57_what_has_ended_well_does_not_end_once_more(
    courier, key, upstream, monkeypatch, how
):
    """It is on record before its last byte leaves, and that byte never may."""
    # Else the recorder's own memory would hide that it was told of two ends.
    monkeypatch.setattr(recorder, "CLOSED_REMEMBERED", 0)
    upstream.default = lambda request: Answer((OPENING, HELLO, Pause(0.3), STOP + USAGE + DONE))
    front_door = courier.application._front_door
    async with Call(courier, key=key.secret, stream=True) as call:
        await call.read_head()
        (connection,) = courier.server.server_state.connections
        connection.pause_writing()  # as if the client had stopped reading
        await until(lambda: recorder.outcomes())
        (task,) = front_door.open
        if how == "left":
            call.reset()
        else:
            task.cancel()
            asyncio.get_running_loop().call_later(0.1, connection.resume_writing)
        await until(lambda: not front_door.open)

    assert dict(recorder.outcomes()) == {"ok": 1}
    record = await courier.last_record()
    assert (record.outcome, record.end_reason, record.status) == ("ok", "complete", 200)


async def look(principal):
    return await states.limit_states(principal)


async def until_free(principal):
    async with asyncio.timeout(WITHIN_S):
        while any(
            s.remaining < s.amount for s in await look(principal) if s.metric == "concurrency"
        ):
            await asyncio.sleep(0.02)


async def records_of(expected):
    """All records, once those of the whole answers are among them and no more come."""
    known, before = [], -1
    async with asyncio.timeout(WITHIN_S):
        while len(known) != before or not expected <= {record.pk for record in known}:
            before = len(known)
            await asyncio.sleep(0.3)
            known = await in_thread(list, UsageRecord.objects.all())
    return known


class Left(NamedTuple):
    """What requests may leave behind."""

    tasks: int
    files: int
    #: Of Redis, where there is one.
    keys: int
    #: In bytes, of Python's objects.
    memory: int


async def test_r42_requests_leave_neither_tasks_files_keys_nor_memory(courier, key, upstream):
    """The short form: the same again and again, and as much is left each time."""
    upstream.default = answer
    await ask_many(courier, key, upstream)
    tracemalloc.start()
    try:
        await ask_many(courier, key, upstream)
        before = left()
        asked = sum([await ask_many(courier, key, upstream) for _ in range(trials(2, 40))])
        after = left()
    finally:
        tracemalloc.stop()

    tasks, files, keys, memory = (more - less for more, less in zip(after, before, strict=True))
    seen = f"{tasks:+d} tasks, {files:+d} files, {keys:+d} keys, {memory / asked:+.0f} bytes each"
    figure("R42", f"short form, {asked} requests: {seen}", "flat")
    assert (tasks <= 2, files <= 8, keys <= 4) == (True, True, True), seen
    # The last few thousand are remembered: their ids, and what they cost.
    assert memory / asked < 1800


async def ask_many(courier, key, upstream):
    """Fifty requests, half of them streams. Returns how many, once nothing of them is open."""
    for _ in range(5):
        asked = (try_to_ask(courier, key=key.secret, stream=n % 2 == 0) for n in range(10))
        await asyncio.gather(*asked)
    await until(lambda: not courier.application._front_door.open)
    await asyncio.sleep(0.1)
    upstream.forget()
    return 50


def left():
    gc.collect()
    files = len(os.listdir("/proc/self/fd"))
    keys = redis.Redis.from_url(settings.REDIS_URL).dbsize() if settings.REDIS_URL else 0
    return Left(len(asyncio.all_tasks()), files, keys, tracemalloc.get_traced_memory()[0])
