"""SIGTERM, as a balancer and clients see it."""

import asyncio
import collections
import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.client import BROKEN, DONE, Call, ask
from tests.e2e.courier import Courier
from tests.e2e.manifests import manifest
from tests.fakes.upstream import DONE as LAST
from tests.fakes.upstream import HELLO, OPENING, STALL, STOP, USAGE, Answer, Gate, like_a_model
from tests.faults.figures import figure
from tests.services import wait_for
from tests.soak import trials

READY = "/health/ready"
STREAMS = trials(100, 200)
#: Of streams that end before it, and of those that have to be ended.
AMPLE_DRAIN_S, SCANT_DRAIN_S = 60, 1
#: Longer than a stop in haste would wait.
LONG_S = 2
NEVER_ENDS = (OPENING, HELLO, STALL)


def ends_behind(gate):
    return Answer((OPENING, HELLO, gate, HELLO, STOP, USAGE, LAST))


@pytest.fixture
def start(launch, shared_upstream):
    shared_upstream.default = like_a_model

    def start(drain_s, **environment):
        settings = manifest(shared_upstream.url)
        return launch(settings, COURIER_DRAIN=str(drain_s), **environment)

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
    await asyncio.to_thread(courier._process.wait, 60)
    took = time.monotonic() - since
    if courier.owes_a_record():
        # The database is not waited for longer than two seconds, in which all may stand still.
        await asyncio.to_thread(courier.manage, "ship_spool")
    return took


async def is_silent(courier):
    """Wait until it takes no more connections."""
    await asyncio.to_thread(wait_for, lambda: courier.status(READY) is None, "silence", 30, 0.01)


async def test_r12_f52_a_stop_lets_open_streams_end_and_answers_who_was_connected(
    start, shared_upstream
):
    courier, gate = start(AMPLE_DRAIN_S, COURIER_STOP_DELAY="0.5"), Gate()
    async with contextlib.AsyncExitStack() as stack:
        shared_upstream.default = lambda request: ends_behind(gate)
        calls = await open_streams(stack, courier, 20)
        shared_upstream.default = like_a_model
        late = Call(courier)
        request, late.request = late.request, b""
        await stack.enter_async_context(late)
        courier._process.terminate()
        since = time.monotonic()
        await is_silent(courier)
        late.writer.write(request)
        await late.read()
        await asyncio.sleep(LONG_S)
        gate.open()
        await asyncio.gather(*(read_to_the_end(call) for call in calls))
        took = await stopped_within(courier, since)

    assert (late.reply.status, late.reply.headers["connection"]) == (200, "close")
    assert all(call.reply.whole for call in calls)
    assert took < AMPLE_DRAIN_S / 2
    assert collections.Counter(courier.records("outcome")) == {"ok": 21}


async def test_r12_r13_f52_a_stop_is_told_to_balancers_first_and_to_streams_at_its_end(
    start, shared_upstream
):
    courier = start(SCANT_DRAIN_S, COURIER_STOP_DELAY="600")
    async with contextlib.AsyncExitStack() as stack:
        shared_upstream.default = lambda request: Answer(NEVER_ENDS)
        calls = await open_streams(stack, courier, 20)
        shared_upstream.default = like_a_model
        courier._process.terminate()
        since = time.monotonic()
        await asyncio.to_thread(wait_for, lambda: courier.status(READY) == 503, "red", 30, 0.01)
        red_after = time.monotonic() - since
        meanwhile = await ask(courier)
        # Who is in haste does not wait for the balancers.
        courier._process.send_signal(signal.SIGINT)
        await asyncio.gather(*(read_to_the_end(call) for call in calls))
        await stopped_within(courier, since)

    figure("R12", f"readiness 503 after {red_after * 1000:.0f} ms", "<= 100 ms")
    assert (meanwhile.status, meanwhile.headers["connection"]) == (200, "close")
    assert all(b'"code":"shutting_down"' in call.reply.body for call in calls)
    assert all(call.reply.ended and DONE not in call.reply.body for call in calls)
    outcomes = collections.Counter(courier.records("outcome"))
    assert outcomes == {"ok": 1, "shutting_down": 20}


@pytest.mark.fault
async def test_r12_f52_streams_that_fit_the_drain_end_well(start, shared_upstream):
    courier, gate = start(AMPLE_DRAIN_S), Gate()
    shared_upstream.default = lambda request: ends_behind(gate)
    async with contextlib.AsyncExitStack() as stack:
        calls = await open_streams(stack, courier, STREAMS)
        courier._process.terminate()
        since = time.monotonic()
        await is_silent(courier)
        gate.open()
        ends = await asyncio.gather(*(read_to_the_end(call) for call in calls))
        took = await stopped_within(courier, since)

    whole = sum(call.reply.ended and DONE in call.reply.body for call in calls)
    after_last = since + took - max(ends)
    figure("R12", f"{whole}/{STREAMS} [DONE], exit {after_last:.1f} s after the last", "all, 2 s")
    print(f"\n{whole}/{STREAMS} whole, exit {after_last:.2f} s after the last")
    assert whole == STREAMS
    assert after_last < AMPLE_DRAIN_S / 2
    assert courier._process.returncode == 0
    assert set(courier.records("outcome")) == {"ok"}
    assert len(courier.records()) == STREAMS


@pytest.mark.fault
async def test_r13_f52_streams_that_do_not_fit_are_told_and_settled(start, shared_upstream):
    courier = start(SCANT_DRAIN_S)
    shared_upstream.default = lambda request: Answer(NEVER_ENDS)
    async with contextlib.AsyncExitStack() as stack:
        calls = await open_streams(stack, courier, STREAMS)
        courier._process.terminate()
        since = time.monotonic()
        await asyncio.gather(*(read_to_the_end(call) for call in calls))
        took = await stopped_within(courier, since)

    told = sum(b'"code":"shutting_down"' in call.reply.body for call in calls)
    ended = sum(call.reply.ended for call in calls)
    after_s = took - SCANT_DRAIN_S
    figure("R13", f"{told}/{STREAMS} told, exit {after_s:.1f} s after the drain", "all, 3 s")
    print(f"\n{told}/{STREAMS} told, {ended} ended, exit {took:.2f} s after the signal")
    assert told == ended == STREAMS
    assert not any(DONE in call.reply.body for call in calls)
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
    courier = Courier(*make_database("sqlite"), COURIER_DRAIN=str(AMPLE_DRAIN_S))
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
    gate = Gate()
    upstream.default = lambda request: ends_behind(gate)
    async with contextlib.AsyncExitStack() as stack:
        streams = await open_streams(stack, courier, 20)
        upstream.default = like_a_model
        knocking = [asyncio.ensure_future(knock(courier, replies)) for _ in range(KNOCKERS)]
        await asyncio.sleep(0.5)
        courier._process.terminate()
        since = time.monotonic()
        await asyncio.gather(*knocking)
        gate.open()
        await asyncio.gather(*(read_to_the_end(call) for call in streams))
        await stopped_within(courier, since)
    assert all(DONE in call.reply.body for call in streams)
    return courier._process.returncode
