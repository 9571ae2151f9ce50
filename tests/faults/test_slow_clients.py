"""Clients that dawdle, or are too many, take nothing from those that do not."""

import asyncio
import contextlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.courier import Courier, SQLite
from tests.e2e.manifests import KEY, UPSTREAM_KEY, model
from tests.fakes.upstream import Pause, completion
from tests.faults.figures import figure
from tests.faults.load import Seen, apart, favor, offer, saturate
from tests.faults.raw import Talk, talk
from tests.faults.upstream import whole

pytestmark = pytest.mark.fault

BODY = json.dumps({"model": "tiny", "messages": [{"role": "user", "content": "x" * 900}]}).encode()
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: here\r\nauthorization: Bearer %s\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
) % (KEY.encode(), len(BODY))
GOOD = HEAD + BODY
LIVE = b"GET /health/live HTTP/1.1\r\nhost: here\r\n\r\n"
#: How much later than promised a busy machine may be, in seconds.
LATE_S = 20


@pytest.fixture(scope="module")
def template(tmp_path_factory, chaos_process):
    """A database with models that answer by themselves, and one of the chaos upstream."""
    directory = tmp_path_factory.mktemp("template")
    courier = Courier(directory, SQLite(directory / "courier.sqlite3"))
    courier.manage("migrate", "-v0")
    courier.apply({
        "version": 1,
        "providers": [
            {"name": "here", "kind": "echo"},
            {
                "name": "there",
                "kind": "openai_compatible",
                "base_url": chaos_process.url,
                "keys": [{"name": "first", "secret": UPSTREAM_KEY}],
            },
        ],
        "models": [model("tiny", "here"), model("at-once", "here"), model("after-0.1-s", "there")],
        "teams": [{"name": "research"}],
        "keys": [{"name": "one", "team": "research", "secret": KEY, "models": ["*"]}],
    })  # fmt: skip
    return directory


@pytest.fixture
def start(template, tmp_path):
    """Start a Courier, with more in its environment, or as a command that limits it."""
    running = []

    def begin(**environment):
        directory = tmp_path / "courier"
        shutil.copytree(template, directory)
        courier = Courier(directory, SQLite(directory / "courier.sqlite3"), **environment)
        running.append(courier)
        return courier.start(60)

    yield begin
    for courier in running:
        courier.stop()


@pytest.fixture
def courier(start):
    return start()


async def dawdle(port, first, every_s=0.5, drip=b""):
    """Send something and then nothing, or a byte now and then. Returns when it was closed."""
    async with Talk(port) as slow:
        await slow.send(first)
        began = time.monotonic()
        dripping = asyncio.create_task(keep_dripping(slow, every_s, drip)) if drip else None
        try:
            await slow.closed_within(60)
        finally:
            if dripping:
                dripping.cancel()
        return time.monotonic() - began


async def keep_dripping(slow, every_s, drip):
    while True:
        await asyncio.sleep(every_s)
        await slow.send(drip)


async def test_f56_slow_clients_are_closed_in_time_and_good_ones_are_served(courier):
    quiet = await saturate(courier.port, GOOD, clients=4, for_s=3)
    slow = {
        "idle": (dawdle(courier.port, b""), 5),
        "a slow head": (dawdle(courier.port, GOOD[:40], drip=b"x"), 5),
        "a body that stops": (dawdle(courier.port, HEAD + BODY[:50]), 10 + 5),
        "a body that drips": (dawdle(courier.port, HEAD + BODY[:50], drip=b"x"), 30 + 5),
        "a body that nobody wants": (dawdle(courier.port, HEAD.replace(KEY.encode(), b"no")), 5),
    }
    asked = [asyncio.create_task(each) for each, _ in slow.values()]
    for _ in range(400):
        asked.extend(asyncio.create_task(dawdle(courier.port, part)) for part in (b"", GOOD[:60]))
    await asyncio.sleep(0.5)
    crowded = await saturate(courier.port, GOOD, clients=4, for_s=3)
    closed = await asyncio.gather(*asked[: len(slow)])

    for (name, (_, limit)), took in zip(slow.items(), closed, strict=True):
        figure("F56", f"{name}: closed after {took:.1f} s", f"≤ {limit} s")
        assert took < limit + LATE_S, name
    ratio = crowded.within(0.99) / quiet.within(0.99)
    figure("F56", f"p99 beside 800 slow connections: {ratio:.1f} × of that without", "≤ 2 ×")
    assert crowded.count(200) == len(crowded.answers)
    await asyncio.gather(*asked)


async def test_f59_at_the_limit_of_open_files_new_work_is_refused_and_all_recovers(
    start, monkeypatch
):
    limited = (
        "-c",
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256));"
        "sys.argv = ['serve']; runpy.run_module('courier_site.serve', run_name='__main__')",
    )
    monkeypatch.setattr("tests.e2e.courier.Courier.program", limited)
    courier = start()
    crowd = [Talk(courier.port) for _ in range(400)]
    for each in crowd:
        await each.__aenter__()
    refused = await talk(courier.port, GOOD, within_s=3)
    for each in crowd:
        await each.__aexit__()
    async with asyncio.timeout(60):
        while [reply.status for reply in await talk(courier.port, GOOD)] != [200]:
            await asyncio.sleep(0.1)

    assert [reply.status for reply in refused] in ([503], [])
    assert courier.is_running
    assert "Too many open files" not in courier.read_log()
    figure("F59", "of 400 connections with 256 files: refused, then served again", "no crash")


async def test_r35_three_times_what_it_can_do(courier, chaos):
    """The process has a core for itself, its load and the provider the other one. What it gets
    done is measured by its CPU time, for the machine may be busy with others."""
    chaos.always("after-0.1-s", Pause(0.1), *whole(completion()))
    favor(chaos.pid, max(os.sched_getaffinity(0)))
    favor(courier._process.pid, min(os.sched_getaffinity(0)))
    for asked, clients in (("at-once", 32), ("after-0.1-s", 160)):
        request = asking_for(asked)
        await asyncio.to_thread(apart, saturate, courier.port, request, clients=clients, for_s=2)
        peak = await under(courier, saturate, request, clients=clients, for_s=4)
        load = await under(courier, offer, request, rate=3 * peak.per_cpu_s, for_s=6)

        goodput = load.per_cpu_s / peak.per_cpu_s
        middle, late = load.seen.within(0.5, 503), load.seen.within(0.99, 503)
        slower = load.seen.within(0.99) / peak.seen.within(0.99)
        seen = (
            f"a provider that answers {asked.replace('-', ' ')}: goodput {goodput:.0%} of peak, "
            f"turned away within {1000 * middle:.0f} ms (p99 {1000 * late:.0f}), p99 of the "
            f"admitted {slower:.1f} × that at the peak, the admin within {load.slowest:.2f} s"
        )
        figure("R35", seen, "≥ 85 %, ≤ 50 ms, ≤ 2 ×, ≤ 1 s")
        print(f"\n{seen}")
        assert load.seen.count(503) > 0
        assert {status for status, _ in load.seen.answers} <= {200, 503}
        assert goodput > 0.5
        assert middle < 2
        assert load.slowest < 1 + LATE_S


def asking_for(model):
    """A request of this model, as large as the others."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "x" * 900}]})
    return HEAD.replace(b"%d" % len(BODY), b"%d" % len(body)) + body.encode()


class Under(NamedTuple):
    """What became of a load."""

    seen: Seen
    #: Requests that were served per second of the server's CPU time.
    per_cpu_s: float
    #: The longest that health or the admin took meanwhile, in seconds.
    slowest: float


async def under(courier, load, request, **options):
    before, looking = cpu_s(courier), asyncio.create_task(look_at_health(courier.port))
    seen = await asyncio.to_thread(apart, load, courier.port, request, **options)
    per_cpu_s = seen.count(200) / (cpu_s(courier) - before)
    return Under(seen, per_cpu_s, await finish(looking))


def cpu_s(courier):
    """CPU seconds that its process has used."""
    fields = Path(f"/proc/{courier._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def look_at_health(port):
    """The longest that health or the admin took, until told to stop."""
    slowest = 0.0
    while not asyncio.current_task().cancelling():
        for path in (b"/health/ready", b"/admin/login/"):
            began = time.monotonic()
            try:
                await talk(port, LIVE.replace(b"/health/live", path), quiet_s=0.01)
            except asyncio.CancelledError:
                return slowest
            slowest = max(slowest, time.monotonic() - began)
            await nap()
    return slowest


async def nap():
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0.2)


async def finish(looking):
    looking.cancel()
    return await looking
