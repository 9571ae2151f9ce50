import asyncio
import collections
import random
import time
from uuid import UUID

import pytest

from tests.e2e.client import try_to_ask
from tests.e2e.manifests import manifest
from tests.fakes.upstream import DONE, HELLO, OPENING, STOP, USAGE, Answer, Pause, completion
from tests.soak import trials

KILLS = trials(4, 25)
CALLERS = 20
SLOW_STREAM = (
    OPENING,
    HELLO,
    Pause(0.03),
    HELLO,
    Pause(0.03),
    HELLO,
    Pause(0.03),
    STOP,
    USAGE,
    DONE,
)


def answer_slowly(request):
    if request.json.get("stream"):
        return Answer(SLOW_STREAM)
    return Answer((completion(),), before=(Pause(random.uniform(0, 0.06)),))


async def call_until(stopped, courier, replies):
    while not stopped.is_set():
        reply = await try_to_ask(courier, stream=random.random() < 0.6)
        if reply.status == 200:
            replies.append(reply)
        # About fifty requests a second altogether, and no storm while nobody listens.
        await asyncio.sleep(random.uniform(0.1, 0.5))


async def kill_under_load(courier, replies):
    stopped = asyncio.Event()
    callers = [asyncio.create_task(call_until(stopped, courier, replies)) for _ in range(CALLERS)]
    for _ in range(KILLS):
        await asyncio.sleep(random.uniform(0.3, 1.2))
        courier.kill()
        await asyncio.to_thread(courier.start)
    await asyncio.sleep(0.5)
    stopped.set()
    await asyncio.gather(*callers)


@pytest.mark.timeout(300 + 30 * KILLS)
async def test_r04_no_answer_that_arrived_whole_is_lost_when_the_server_is_killed(
    launch, shared_upstream, kind_of_database
):
    shared_upstream.default = answer_slowly
    courier = launch(manifest(shared_upstream.url), database=kind_of_database)
    replies = []

    await kill_under_load(courier, replies)
    began = time.monotonic()
    await asyncio.to_thread(courier.wait_for_records, len(replies))
    ids = await asyncio.to_thread(courier.settled)

    whole = {reply.request_id for reply in replies if reply.whole}
    broken = {reply.request_id for reply in replies if not reply.whole}
    ended = {UUID(str(row[0])): row[1] for row in courier.records("request_id, end_reason")}
    print(
        f"\n{kind_of_database}: {KILLS} kills, {len(whole)} whole answers, {len(broken)} broken, "
        f"{len(ids)} records within {time.monotonic() - began:.1f} s, "
        f"{dict(collections.Counter(ended.values()))}"
    )
    assert whole - set(ids) == set()
    assert broken - set(ids) == set()
    assert len(ids) == len(set(ids))
    assert {ended[request_id] for request_id in whole} == {"complete"}
    assert {ended[request_id] for request_id in broken} <= {"interrupted", "complete"}
    assert "interrupted" in ended.values()
