"""F53, F54, F58 and F60: a process that is frozen, whose clock jumps, or whose memory is short."""

import asyncio
import contextlib
import os
import signal
import time

import pytest
import redis

from tests.e2e.client import BROKEN, Call, try_to_ask
from tests.e2e.courier import Courier
from tests.e2e.manifests import key, manifest
from tests.fakes.upstream import DONE, HELLO, OPENING, STOP, USAGE, Answer, Gate, Pause, completion
from tests.faults.clocks import FakeClock
from tests.faults.figures import figure
from tests.faults.memory import MemoryLimit
from tests.soak import trials

HOUR_S = 3600
#: A lease of a place ends after 60 s, a hold on money after 120.
FROZEN_S = trials(20, 125)
STREAMS_S = 2.4
LIMIT_BYTES = 360 * 1024 * 1024
LARGE = "x" * 8_000_000
CHUNK = 16 * 1024
PLACES = 10


class Held:
    """What Redis says is spent, held, and taken of the places."""

    def __init__(self, url):
        self._url = url

    def __call__(self):
        with redis.Redis.from_url(self._url, decode_responses=True) as client:
            (budget,) = (
                each for each in client.scan_iter("courier:budget:*") if is_a_hash(client, each)
            )
            places = list(client.scan_iter("courier:limit:*concurrency*"))
            now_s, _ = client.time()
            taken = sum(client.zcount(each, now_s * 1e6, "+inf") for each in places)
            spent, reserved = client.hmget(budget, "spent", "reserved")
            return int(spent or 0), int(reserved or 0), taken


def is_a_hash(client, name):
    return client.type(name) == "hash"


@pytest.fixture(scope="module")
def budgeted(launch, shared_upstream):
    """A Courier over PostgreSQL and Redis, whose only key has a hard budget and ten places."""
    settings = manifest(shared_upstream.url)
    settings["teams"] = [
        {"name": "research", "budgets": [{"amount": "1000", "period": "month", "hard": True}]}
    ]
    settings["keys"] = [key(limits={"concurrency": PLACES})]
    # Shorter than it is frozen, which is not its provider's silence.
    settings["providers"][0]["timeouts"] = {"idle": FROZEN_S / 2}
    return launch(settings, database="postgres")


@pytest.mark.fault
@pytest.mark.timeout(300 + 2 * FROZEN_S)
async def test_f54_a_process_that_was_frozen_settles_everything_once(budgeted, shared_upstream):
    held, gate = Held(budgeted.database.redis_url), Gate()
    while (await try_to_ask(budgeted)).status != 200:
        await asyncio.sleep(0.1)
    shared_upstream.default = lambda request: answer_behind(gate, request)
    asked = [
        asyncio.create_task(try_to_ask(budgeted, stream=number % 2 == 0))
        for number in range(PLACES)
    ]
    await until(lambda: shared_upstream.busy_connections == PLACES)
    before = held()

    os.killpg(budgeted._process.pid, signal.SIGSTOP)
    gate.open()
    await asyncio.sleep(FROZEN_S)
    while_frozen = held()
    os.killpg(budgeted._process.pid, signal.SIGCONT)
    replies = await asyncio.gather(*asked)
    await asyncio.to_thread(budgeted.wait_for_records, PLACES + 1)
    await asyncio.to_thread(budgeted.settled)
    await until(lambda: held()[1:] == (0, 0))

    costs = budgeted.records("request_id, cost_nano")
    spent, reserved, taken = held()
    seen = (
        f"{FROZEN_S} s: {before[2]} places before, {while_frozen[2]} at its end, {taken} after; "
        f"{len(costs)} records, spent − ledger {spent - sum(cost for _, cost in costs)}"
    )
    figure("F54", seen, "0 held, each settled once")
    print(f"\n{seen}")
    assert before[2] == PLACES
    assert while_frozen[2] == (0 if FROZEN_S > 60 else PLACES)
    assert len(costs) == len(replies) + 1
    assert (spent, reserved, taken) == (sum(cost for _, cost in costs), 0, 0)
    if FROZEN_S < 60:
        assert {reply.whole for reply in replies} == {True}
    assert (await try_to_ask(budgeted)).status == 200


def answer_behind(gate, request):
    if request.json.get("stream"):
        return Answer((OPENING, HELLO, gate, HELLO, STOP, USAGE, DONE))
    return Answer((completion(),), before=(gate,))


async def until(condition, within_s=60):
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.1)


@pytest.fixture
def clock(tmp_path):
    return FakeClock(tmp_path)


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
async def test_f58_a_clock_that_jumps_in_a_stream_changes_no_duration_and_no_day(
    launch, shared_upstream, clock, jump_s
):
    gate = Gate()
    shared_upstream.default = lambda request: answer_behind(gate, request)
    courier = launch(manifest(shared_upstream.url), **clock.environment)

    async with Call(courier, stream=True) as call:
        await call.read_head()
        await call.read_piece()
        clock.shift_s(jump_s)
        await asyncio.sleep(STREAMS_S)
        gate.open()
        await call.read_rest()
    reply = call.reply
    later = await try_to_ask(courier)
    await asyncio.to_thread(courier.wait_for_records, 2)

    rows = courier.records("request_id, day, started_at, first_token_ms, total_ms, end_reason")
    told = {str(row[0]).replace("-", ""): row for row in rows}
    row = told[reply.request_id.hex]
    figure("F58", f"{jump_s:+d} s: {row[4]} ms of a stream of {STREAMS_S} s", "durations monotonic")
    assert (reply.whole, later.status, row[5]) == (True, 200, "complete")
    assert 0 <= row[3] <= row[4]
    assert 1000 * STREAMS_S <= row[4] < 60_000
    assert abs(ms_of(later.request_id) - ms_of(reply.request_id) - jump_s * 1000) < 60_000
    for request_id, day, started_at, *_ in rows:
        assert str(started_at).startswith(str(day))
        assert time.strftime("%Y-%m-%d", time.gmtime(ms_of(request_id) / 1000)) == str(day)


def ms_of(request_id):
    """When an id was made, by itself: its first 48 bits."""
    return int(str(request_id).replace("-", "")[:12], 16)


@pytest.fixture
def little_memory(make_database, shared_upstream):
    """A Courier with hardly more memory than it needs to run."""
    limit = MemoryLimit(LIMIT_BYTES)
    courier = Courier(*make_database("sqlite"))
    courier.apply(manifest(shared_upstream.url))
    yield courier, limit
    courier.stop()
    limit.end()


def chunked(request):
    """The same without a length."""
    head, _, content = request.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    pieces = (content[at : at + CHUNK] for at in range(0, len(content), CHUNK))
    chunks = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    head = b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""])
    return b"".join([head, *chunks, b"0\r\n\r\n"])


@pytest.mark.fault
@pytest.mark.parametrize("sent", [bytes, chunked], ids=["with a length", "in chunks"])
async def test_r04_f60_whoever_is_short_of_memory_refuses_and_loses_no_answer(
    little_memory, shared_upstream, sent
):
    """Large bodies at once would need several times of what there is."""
    shared_upstream.default = lambda request: Answer((completion(),), before=(Pause(0.5),))
    courier, limit = little_memory
    large = sent(Call(courier, messages=[{"role": "user", "content": LARGE}]).request)
    courier.begin()
    limit.take(courier._process.pid)
    await asyncio.to_thread(courier.wait_until_ready)
    replies = []
    for _ in range(3):
        replies += [await try_to_ask(courier) for _ in range(5)]
        replies += await asyncio.gather(
            *(send(courier, large) for _ in range(40)),
            *(try_to_ask(courier) for _ in range(5)),
        )
    killed, is_running = limit.kills, courier.is_running
    after = await try_to_ask(courier)
    with contextlib.suppress(ProcessLookupError):
        courier.kill()
    await asyncio.to_thread(courier.start)
    whole = {reply.request_id for reply in replies if reply.whole}
    await asyncio.to_thread(courier.settled)

    ids = courier.recorded_ids()
    told = [reply.status for reply in replies]
    seen = (
        f"{limit.size >> 20} MiB by cgroup v1: at most {limit.most >> 20} MiB, {killed} kills; "
        f"{told.count(200)} answers, {told.count(503)} refused, {told.count(0)} cut off"
    )
    figure("F60", seen, "sheds, and loses no answer")
    print(f"\n{seen}")
    assert whole - set(ids) == set()
    assert len(ids) == len(set(ids))
    assert (killed, is_running, after.status) == (0, True, 200)
    assert told.count(503) > 0
    assert {reply.code for reply in replies if reply.status == 503} == {"overloaded"}


async def send(courier, request):
    """What comes of a request that is written already."""
    call = Call(courier)
    call.request = request
    with contextlib.suppress(*BROKEN):
        async with call:
            await call.read()
    return call.reply
