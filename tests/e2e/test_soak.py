"""R42: hours of traffic leave as much memory, as many files and as many keys as minutes do."""

import asyncio
import contextlib
import random
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from tests.e2e.client import BROKEN, Call, try_to_ask
from tests.e2e.database_troubles import children_of
from tests.e2e.manifests import manifest
from tests.fakes.upstream import DONE, HELLO, OPENING, STOP, USAGE, Answer, Pause, completion
from tests.faults.figures import figure
from tests.soak import trials

LASTS_S = trials(600, 3600)
#: Of it, before anything is measured.
WARM_SHARE = 0.25
SAMPLE_EVERY_S = 5
CALLERS = 6
TEN_MINUTES_S = 600
STREAM = (OPENING, Pause(0.02), HELLO, Pause(0.02), HELLO, STOP, USAGE, DONE)


class Sample(NamedTuple):
    """What the server's processes have at one moment."""

    at: float
    megabytes: float
    files: int
    threads: int
    keys: int


def answer(request):
    if request.json.get("stream"):
        return Answer(STREAM)
    return Answer((completion(),), before=(Pause(0.03),))


def sampled(courier):
    processes = [courier._process.pid, *children_of(courier._process.pid)]
    told = [Path(f"/proc/{process}/status").read_text() for process in processes]
    files = sum(len(list(Path(f"/proc/{process}/fd").iterdir())) for process in processes)
    with redis.Redis.from_url(courier.database.redis_url) as client:
        keys = client.dbsize()
    memory = sum(of(status, "VmRSS") for status in told) / 1024
    return Sample(time.monotonic(), memory, files, sum(of(s, "Threads") for s in told), keys)


def of(status, name):
    return int(status.partition(f"{name}:")[2].split()[0])


async def call_on(courier, until):
    """Whole answers, streams, mistakes, and one in five who leaves early."""
    while time.monotonic() < until:
        kind = random.random()
        if kind < 0.2:
            with contextlib.suppress(*BROKEN, TimeoutError):
                async with Call(courier, stream=True) as call:
                    await asyncio.wait_for(call.read(), random.uniform(0, 0.05))
        elif kind < 0.25:
            await try_to_ask(courier, model="unknown")
        else:
            await try_to_ask(courier, stream=kind < 0.6, user=str(random.random()))
        await asyncio.sleep(0.02)


def per_ten_minutes(samples, name):
    """The slope of one figure, by the least squares."""
    line = statistics.linear_regression(
        [one.at for one in samples], [getattr(one, name) for one in samples]
    )
    return line.slope * TEN_MINUTES_S


@pytest.mark.fault
@pytest.mark.timeout(LASTS_S + 600)
async def test_r42_memory_files_threads_and_keys_stay_what_they_were(launch, shared_upstream):
    shared_upstream.default = answer
    limits = {"rpm": 1_000_000, "concurrency": 100}
    courier = launch(manifest(shared_upstream.url, limits=limits), database="postgres")
    began = time.monotonic()
    callers = [asyncio.create_task(call_on(courier, began + LASTS_S)) for _ in range(CALLERS)]
    samples = []
    while time.monotonic() < began + LASTS_S:
        await asyncio.sleep(SAMPLE_EVERY_S)
        shared_upstream.forget()
        samples.append(await asyncio.to_thread(sampled, courier))
    await asyncio.gather(*callers)

    warm = [one for one in samples if one.at > began + LASTS_S * WARM_SHARE]
    memory = per_ten_minutes(warm, "megabytes")
    files, threads, keys = (
        max(getattr(one, name) for one in warm) - min(getattr(one, name) for one in warm)
        for name in ("files", "threads", "keys")
    )
    seen = (
        f"{LASTS_S // 60} min, {len(courier.records())} requests: RSS {warm[-1].megabytes:.0f} MB, "
        f"{memory:+.2f} MB per 10 min; files ± {files}, threads ± {threads}, keys ± {keys}"
    )
    figure("R42", seen, "< 1 MB per 10 min, flat")
    print(f"\n{seen}")
    assert memory < 8
    assert (files < 40, threads < 12, keys < 40) == (True, True, True)
