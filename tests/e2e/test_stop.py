"""SIGTERM, as a balancer and clients see it."""

import asyncio
import collections
import contextlib
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.e2e.client import BROKEN, DONE, Call, ask
from tests.e2e.courier import Courier
from tests.e2e.manifests import manifest
from tests.fakes.upstream import DONE as LAST
from tests.fakes.upstream import HELLO, OPENING, STALL, STOP, USAGE, Answer, Pause, like_a_model
from tests.faults.figures import figure
from tests.services import wait_for
from tests.soak import trials

READY = "/health/ready"
STREAMS = trials(100, 200)
LONG_S = 1.5
DRAIN_S = 2
ENDS_IN_TIME = (OPENING, HELLO, Pause(LONG_S), HELLO, STOP, USAGE, LAST)
NEVER_ENDS = (OPENING, HELLO, STALL)


@pytest.fixture
def start(launch, shared_upstream):
    shared_upstream.default = like_a_model

    def start(**environment):
        settings = manifest(shared_upstream.url)
        return launch(settings, COURIER_DRAIN=str(DRAIN_S), **environment)

    return start


async def open_streams(stack, courier, count):
    """So many streams, each with its first piece."""
    calls = [Call(courier, stream=True) for _ in range(count)]
    for some in range(0, count, 50):
        await asyncio.gather(*(begin(stack, call) for call in calls[some : some + 50]))
    return calls


async def begin(stack, call):
    await stack.enter_async_context(call)
    await call.read_head()
    await call.read_piece()


async def read_to_the_end(call):
    """Whether the body ended properly, and when."""
    with contextlib.suppress(*BROKEN):
        await call.read_rest()
    return time.monotonic()


async def stopped_within(courier, since):
    await asyncio.to_thread(courier._process.wait, 30)
    return time.monotonic() - since


async def test_r12_r13_f52_a_stop_is_orderly(start, shared_upstream):
    courier = start(COURIER_STOP_DELAY="1")
    async with contextlib.AsyncExitStack() as stack:
        shared_upstream.default = lambda request: Answer(ENDS_IN_TIME)
        short = await open_streams(stack, courier, 20)
        shared_upstream.default = lambda request: Answer(NEVER_ENDS)
        long = await open_streams(stack, courier, 20)
        late = Call(courier)
        request, late.request = late.request, b""
        await stack.enter_async_context(late)
        courier._process.terminate()
        since = time.monotonic()
        await asyncio.to_thread(wait_for, lambda: courier.status(READY) == 503, "red", 2, 0.01)
        red_after = time.monotonic() - since
        shared_upstream.default = like_a_model
        meanwhile = await ask(courier)
        await asyncio.to_thread(wait_for, lambda: courier.status(READY) is None, "silence", 5, 0.01)
        late.writer.write(request)
        await late.read()
        await asyncio.gather(*(read_to_the_end(call) for call in short + long))
        await stopped_within(courier, since)

    figure("R12", f"readiness 503 after {red_after * 1000:.0f} ms", "<= 100 ms")
    for reply in (meanwhile, late.reply):
        assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert all(call.reply.whole for call in short)
    assert all(b'"code":"shutting_down"' in call.reply.body for call in long)
    assert all(call.reply.ended and DONE not in call.reply.body for call in long)
    outcomes = collections.Counter(courier.records("outcome"))
    assert outcomes == {"ok": 22, "shutting_down": 20}


@pytest.mark.fault
async def test_r12_f52_streams_that_fit_the_drain_end_well(start, shared_upstream):
    courier = start()
    shared_upstream.default = lambda request: Answer(ENDS_IN_TIME)
    async with contextlib.AsyncExitStack() as stack:
        calls = await open_streams(stack, courier, STREAMS)
        courier._process.terminate()
        since = time.monotonic()
        ends = await asyncio.gather(*(read_to_the_end(call) for call in calls))
        took = await stopped_within(courier, since)

    whole = sum(call.reply.ended and DONE in call.reply.body for call in calls)
    after_last = since + took - max(ends)
    figure("R12", f"{whole}/{STREAMS} [DONE], exit {after_last:.1f} s after the last", "all, 2 s")
    print(f"\n{whole}/{STREAMS} whole, exit {after_last:.2f} s after the last")
    assert whole == STREAMS
    assert after_last < 8
    assert courier._process.returncode == 0
    assert set(courier.records("outcome")) == {"ok"}
    assert len(courier.records()) == STREAMS


@pytest.mark.fault
async def test_r13_f52_streams_that_do_not_fit_are_told_and_settled(start, shared_upstream):
    courier = start()
    shared_upstream.default = lambda request: Answer(NEVER_ENDS)
    async with contextlib.AsyncExitStack() as stack:
        calls = await open_streams(stack, courier, STREAMS)
        courier._process.terminate()
        since = time.monotonic()
        await asyncio.gather(*(read_to_the_end(call) for call in calls))
        took = await stopped_within(courier, since)

    told = sum(b'"code":"shutting_down"' in call.reply.body for call in calls)
    ended = sum(call.reply.ended for call in calls)
    figure("R13", f"{told}/{STREAMS} told, exit {took - DRAIN_S:.1f} s after the drain", "all, 3 s")
    print(f"\n{told}/{STREAMS} told, {ended} ended, exit {took:.2f} s after the signal")
    assert told == ended == STREAMS
    assert not any(DONE in call.reply.body for call in calls)
    assert took < DRAIN_S + 12
    rows = courier.records("outcome, usage_source")
    assert set(rows) == {("shutting_down", "estimated")}
    assert len(rows) == STREAMS


#: How a container starts it that drops all capabilities, as the shipped one does.
WITHOUT_CAPABILITIES = """
import os, sys
bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
command = [*bare, sys.executable, "-m", "courier_site.serve"]
os.execvp(command[0], command)
"""
KNOCKERS, STOPS = 30, trials(1, 10)


@pytest.fixture
def bare(make_database, shared_upstream):
    """A Courier whose process may do nothing that others may not."""
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed: apt-get install util-linux")
    courier = Courier(*make_database("sqlite"), COURIER_DRAIN="10")
    courier.program = ("-c", WITHOUT_CAPABILITIES)
    courier.apply(manifest(shared_upstream.url))
    yield courier
    courier.stop()


async def knock(courier, replies):
    """Ask on one new connection after the other, until none is made any more."""
    while True:
        call = Call(courier)
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(call)
            except ConnectionRefusedError:
                return
            replies.append(call.reply)
            with contextlib.suppress(*BROKEN):
                await call.read()


@pytest.mark.fault
@pytest.mark.timeout(600)
async def test_r12_r14_f52_a_stop_without_capabilities_loses_nothing(bare, shared_upstream):
    replies = []
    for _ in range(STOPS):
        await asyncio.to_thread(bare.start)
        status = Path(f"/proc/{bare.process_id}/status").read_text()
        assert "CapEff:\t0000000000000000\n" in status
        assert await stop_while_many_ask(bare, shared_upstream, replies) == 0

    lost = sum(not reply.whole for reply in replies)
    figure("R14", f"{lost} of {len(replies)} lost in {STOPS} stops without capabilities", "0")
    assert lost == 0
    assert "Traceback" not in bare.read_log()


async def stop_while_many_ask(courier, upstream, replies):
    """Stop it under streams that all end well. Returns its exit code."""
    upstream.default = lambda request: Answer(ENDS_IN_TIME)
    async with contextlib.AsyncExitStack() as stack:
        streams = await open_streams(stack, courier, 20)
        upstream.default = like_a_model
        knocking = [asyncio.ensure_future(knock(courier, replies)) for _ in range(KNOCKERS)]
        await asyncio.sleep(0.5)
        courier._process.terminate()
        since = time.monotonic()
        await asyncio.gather(*knocking, *(read_to_the_end(call) for call in streams))
        await stopped_within(courier, since)
    assert all(DONE in call.reply.body for call in streams)
    return courier._process.returncode
