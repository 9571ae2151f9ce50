"""R42: hours of traffic leave as much memory, as many files and as many keys as minutes do."""

import asyncio
import contextlib
import json
import os
import random
import time
from pathlib import Path

import pytest

from tests.e2e.client import BROKEN, Call, try_to_ask
from tests.e2e.courier import Courier
from tests.e2e.inventory import TOKEN, busy_share, growth, per_ten_minutes, taken_of
from tests.e2e.manifests import manifest
from tests.fakes.upstream import DONE, HELLO, OPENING, STOP, USAGE, Answer, Pause, completion
from tests.faults.figures import figure
from tests.soak import trials

HOUR_S = 3600
LASTS_S = trials(90, HOUR_S)
IS_WHOLE = LASTS_S >= HOUR_S
#: Before anything is measured: pools and caches are full after some thousand requests, and what
#: the allocators leave unused grows slower and slower.
WARM_S = LASTS_S // 3
SAMPLE_EVERY_S = 5 if IS_WHOLE else 1
#: About half of what one server can do, where the machine has nothing else to do.
CALLERS = 44
#: MB per 10 minutes. Of minutes the warm-up is a part; a leak of 1 KB per request is 60 MB.
MOST_GROWTH = 1 if IS_WHOLE else 30
#: What is counted wavers with the load.
WAVERS = 20
#: After which nothing is open any more, in seconds.
REST_S = 3
STREAM = (OPENING, Pause(0.02), HELLO, Pause(0.02), HELLO, STOP, USAGE, DONE)


@pytest.fixture
def courier(make_database, shared_upstream):
    """All of it as `make run` starts it, on PostgreSQL and Redis."""
    shared_upstream.default = answer
    courier = Courier(*make_database("postgres"), COURIER_METRICS_TOKEN=TOKEN)
    courier.program = ("manage.py", "up")
    courier.apply(manifest(shared_upstream.url, limits={"rpm": 1_000_000, "concurrency": 100}))
    yield courier.start(within_s=120)
    courier.stop()


def answer(request):
    if request.json.get("stream"):
        return Answer(STREAM)
    return Answer((completion(),), before=(Pause(0.03),))


async def call_on(courier, until):
    """Whole answers, streams, mistakes, and one in five who leaves early. Returns how many."""
    calls = 0
    while time.monotonic() < until:
        calls += 1
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
    return calls


async def watch(courier, upstream, until):
    """Samples until then; each is added to a file as well, where COURIER_SAMPLES names one."""
    samples = []
    while time.monotonic() < until:
        await asyncio.sleep(SAMPLE_EVERY_S)
        upstream.forget()
        samples.append(await asyncio.to_thread(taken_of, courier, upstream))
        if "COURIER_SAMPLES" in os.environ:
            with Path(os.environ["COURIER_SAMPLES"]).open("a") as file:
                file.write(json.dumps(samples[-1]._asdict()) + "\n")
    return samples


@pytest.mark.fault
@pytest.mark.timeout(LASTS_S + 600)
async def test_r42_memory_files_tasks_and_keys_stay_what_they_were(courier, shared_upstream):
    at_rest = await asyncio.to_thread(taken_of, courier, shared_upstream)
    began = time.monotonic()
    until = began + LASTS_S
    *calls, samples = await asyncio.gather(
        *(call_on(courier, until) for _ in range(CALLERS)), watch(courier, shared_upstream, until)
    )

    warm = [one for one in samples if one.at > began + WARM_S]
    memory = {role: per_ten_minutes(warm, role) for role in warm[0].processes}
    grown = {name: growth(warm, name) for name in warm[0].counts}
    # Open requests have tasks, more of them under more load.
    await asyncio.sleep(REST_S)
    rests = await asyncio.to_thread(taken_of, courier, shared_upstream)
    grown["tasks"] = rests.tasks - at_rest.tasks
    told(warm, memory, grown, sum(calls))
    assert max(memory.values()) < MOST_GROWTH
    assert {name: by for name, by in grown.items() if by > WAVERS} == {}


def told(warm, memory, grown, calls):
    """What was seen, as a figure and for who looks on."""
    each = "; ".join(
        f"{role} {warm[-1].processes[role].megabytes:.0f} MB {by:+.2f}"
        for role, by in memory.items()
    )
    counted = ", ".join(f"{name} {by:+.0f}" for name, by in grown.items() if by) or "all ± 0"
    seen = (
        f"{LASTS_S / 60:.3g} min, {calls / LASTS_S:.0f} requests/s, the server "
        f"{busy_share(warm, 'server'):.0%} of a core; RSS and MB per 10 min: {each}; "
        f"counts: {counted}"
    )
    figure("R42", seen, "< 1 MB per 10 min, flat")
    print(f"\n{seen}")
