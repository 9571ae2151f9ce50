import asyncio
import collections
import contextlib
import random
import socket
import time
from pathlib import Path

import pytest

from tests.e2e.client import BROKEN, Call, ask
from tests.e2e.manifests import UPSTREAM_KEY, manifest, model
from tests.fakes.upstream import DONE, HELLO, OPENING, STOP, USAGE, Answer, Gate, Pause, completion
from tests.faults.figures import figure
from tests.services import wait_for
from tests.soak import trials

CANCELLED = trials(1000, 10_000)
AT_ONCE = 40
SLOTS = 60
ABORTED = trials(100, 1000)
PATIENT = {"connect": 60, "tls": 60}
STREAM = (OPENING, Pause(0.02), HELLO, Pause(0.02), HELLO, Pause(0.02), STOP, USAGE, DONE)


def answer_in_a_while(request):
    if request.json.get("stream"):
        return Answer(STREAM)
    return Answer((completion(),), before=(Pause(random.uniform(0, 0.08)),))


@pytest.fixture(scope="module")
def unreached():
    """By scheme, ports where connecting takes for ever (http), and securing it does (https)."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        yield {"http": full.getsockname()[1], "https": mute.getsockname()[1]}


@pytest.fixture(scope="module")
def courier(launch, shared_upstream, kind_of_database, unreached):
    shared_upstream.default = answer_in_a_while
    settings = manifest(shared_upstream.url, limits={"concurrency": SLOTS})
    for scheme, port in unreached.items():
        keys = [{"name": "first", "secret": UPSTREAM_KEY}]
        address = f"{scheme}://127.0.0.1:{port}/v1"
        provider = {"name": scheme, "kind": "openai_compatible", "base_url": address, "keys": keys}
        # To give up an attempt ends it too, and shall not be taken for that.
        settings["providers"].append({**provider, "timeouts": PATIENT})
        settings["models"].append(model(f"by-{scheme}", scheme))
    return launch(settings, database=kind_of_database)


async def call_and_leave(courier, number):
    """One in four leaves in mid-stream, the others at any moment; half of them by a reset."""
    name = f"cancelled-{number}"
    headers = {"X-Request-Id": name}
    with contextlib.suppress(*BROKEN):
        async with Call(courier, stream=number % 2 == 0, headers=headers, user=name) as call:
            if number % 4 == 0:
                await read_some(call, pieces=number // 4 % 3)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(call.read(), random.uniform(0, 0.08))
            if number // 4 % 2:
                call.reset()


async def read_some(call, pieces):
    await call.read_head()
    while pieces and not call.reply.ended:
        await call.read_piece()
        pieces -= 1


async def cancel_storm(courier):
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number):
        async with places:
            await call_and_leave(courier, number)

    await asyncio.gather(*(one(number) for number in range(CANCELLED)))


@pytest.mark.timeout(600)
async def test_r09_a_storm_of_cancelled_requests_leaves_nothing_behind(
    courier, shared_upstream, kind_of_database
):
    assert (await ask(courier)).status == 200
    shared_upstream.forget()

    await cancel_storm(courier)
    since = time.monotonic()
    await asyncio.to_thread(
        wait_for, lambda: not shared_upstream.busy_connections, "calls to end", 60, 0.01
    )
    closed_after = time.monotonic() - since
    reached = [request["user"] for request in list(shared_upstream.requests)]
    afterwards = [await ask(courier) for _ in range(50)]
    full = await asyncio.gather(*(ask(courier, stream=True) for _ in range(SLOTS)))
    await asyncio.to_thread(courier.settled)

    rows = courier.records("client_request_id, end_reason")
    recorded = collections.Counter(name for name, _ in rows if name)
    print(
        f"\n{kind_of_database}: {CANCELLED} cancelled, {len(reached)} reached the upstream, "
        f"{len(recorded)} on record: {dict(collections.Counter(reason for _, reason in rows))}; "
        f"{shared_upstream.open_connections} idle connections"
    )
    good = sum(reply.status == 200 for reply in afterwards + full)
    figure(
        "R09",
        f"{CANCELLED} cancels: {good} of {50 + SLOTS} good after, idle in {closed_after:.2f} s",
        "all, 1 s",
    )
    assert [reply.status for reply in afterwards] == [200] * 50
    assert [reply.status for reply in full] == [200] * SLOTS
    assert shared_upstream.busy_connections == 0
    assert len(reached) >= CANCELLED / 5
    assert set(reached) <= set(recorded)
    assert set(recorded.values()) == {1}
    assert len(rows) == 1 + len(recorded) + 50 + SLOTS


async def test_one_request_more_than_there_are_slots_is_refused(courier, shared_upstream):
    gate = Gate()
    shared_upstream.default = lambda request: Answer((completion(),), before=(gate,))

    asked = [asyncio.create_task(ask(courier)) for _ in range(SLOTS + 1)]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    gate.open()
    replies = await asyncio.gather(*asked)

    statuses = collections.Counter(reply.status for reply in replies)
    assert statuses == {200: SLOTS, 429: 1}


async def test_r09_who_leaves_while_the_upstream_is_connected_to_leaves_no_socket(
    courier, shared_upstream, unreached
):
    shared_upstream.default = answer_in_a_while
    await fill_all_slots(courier)
    before = sockets(courier)

    await leave_when_all_connect(courier, unreached)
    await leave_at_any_moment(courier)
    since = time.monotonic()
    await asyncio.to_thread(
        wait_for, lambda: sockets(courier) <= before, "all to be closed", 30, 0.01
    )
    closed_after = time.monotonic() - since
    full = await fill_all_slots(courier)

    figure("R09", f"{ABORTED} left while connecting: no socket after {closed_after:.2f} s", "1 s")
    assert [reply.status for reply in full] == [200] * SLOTS


async def fill_all_slots(courier):
    return await asyncio.gather(*(ask(courier, stream=True) for _ in range(SLOTS)))


async def leave_when_all_connect(courier, unreached):
    connecting = connections_to(unreached)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(AT_ONCE):
            await stack.enter_async_context(call := unanswered(courier, number))
            if number % 8 < 4:
                stack.callback(call.reset)
        await asyncio.to_thread(
            wait_for,
            lambda: connections_to(unreached) == connecting + AT_ONCE,
            "all to be connected to",
            30,
            0.01,
        )


async def leave_at_any_moment(courier):
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number):
        async with places, unanswered(courier, number) as call:
            await asyncio.sleep(random.uniform(0, 0.2))
            if number % 8 < 4:
                call.reset()

    await asyncio.gather(*(one(number) for number in range(ABORTED)))


def unanswered(courier, number):
    model = ("by-http", "by-https")[number % 2]
    return Call(courier, model=model, stream=number % 4 < 2)


def connections_to(unreached):
    """How many connections are begun, or made, to where nobody answers."""
    ports = {f"{port:04X}" for port in unreached.values()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # 01 is an established one, 02 one that has sent its SYN.
    return sum(row[2].rpartition(":")[2] in ports and row[3] in {"01", "02"} for row in rows)


def sockets(courier):
    """How many the server has open."""
    files = Path(f"/proc/{courier._process.pid}/fd")
    return sum(_is_socket(file) for file in files.iterdir())


def _is_socket(file):
    try:
        return file.readlink().name.startswith("socket:")
    except FileNotFoundError:
        return False  # closed meanwhile
