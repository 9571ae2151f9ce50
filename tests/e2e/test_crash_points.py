"""R04 and F53 at each named point: whatever a crash leaves, each request counts once."""

import asyncio
import contextlib
import re
import signal
from pathlib import Path

import pytest

from lib import crash_points
from tests.e2e.client import BROKEN, Call, try_to_ask
from tests.e2e.manifests import manifest
from tests.services import wait_for
from tests.sources import CHECKOUT

#: Those that are reached by a process that starts after another has died.
LATER = ("leftovers.written", "leftovers.cleared")
#: Those before anything stands in the ledger.
UNSHIPPED = ("request.", "ledger.written")
#: How many requests have been written down when the first comes to the point, of those that the
#: upstream was not asked for yet.
UNASKED = {"request.held": 0, "request.opened": 1}
MODEL = "words-20-0.02"
#: Points that whole answers come to before any stream does, and how many are asked for beside
#: streams: none where it is a stream's turn.
WHOLE = 3
OF_STREAMS = ("request.recorded", "request.settled")
CASES = [
    *(pytest.param(name, WHOLE, id=name) for name in crash_points.NAMES),
    *(pytest.param(name, 0, id=f"{name} of a stream") for name in OF_STREAMS),
]


@pytest.fixture(scope="module")
def courier(launch, chaos_process):
    courier = launch(manifest(chaos_process.url, models=[MODEL, "any"]), database="postgres")
    courier.stop()
    return courier


def begin(courier, name=""):
    courier.environment["COURIER_TEST_CRASH_AT"] = name
    return courier.begin()


async def traffic(courier, whole):
    """Some answers at once and some streams, one of them read late."""
    calls = [try_to_ask(courier, model=MODEL, stream=True) for _ in range(3)]
    calls += [try_to_ask(courier, model="any") for _ in range(whole)]
    async with Call(courier, model=MODEL, stream=True) as late:
        rest = await asyncio.gather(*calls)
        # It was asked for first, and most likely comes to its end first.
        with contextlib.suppress(*BROKEN):
            await late.read()
        return [late.reply, *rest]


def death_of(courier):
    """How the server's process has ended, which it must."""
    wait_for(lambda: not courier.is_running, "the crash", within_s=60)
    return courier._process.returncode


@pytest.mark.fault
@pytest.mark.parametrize(("name", "beside"), CASES)
async def test_r04_f53_a_crash_at_a_named_point_counts_each_request_once(
    courier, chaos, name, beside
):
    known = len(courier.recorded_ids())
    begin(courier, "" if name in LATER else name)
    await asyncio.to_thread(courier.wait_until_ready)
    replies = await traffic(courier, beside)
    if name in LATER:
        courier.kill()
        begin(courier, name)
    died_of = await asyncio.to_thread(death_of, courier)
    courier.kill()
    in_ledger = len(courier.recorded_ids()) - known

    begin(courier)
    await asyncio.to_thread(courier.wait_until_ready)
    await asyncio.to_thread(courier.settled)

    asked = len(chaos.requests())
    ids = courier.recorded_ids()
    whole = {reply.request_id for reply in replies if reply.whole}
    assert died_of == -signal.SIGKILL
    assert len(ids) == len(set(ids))
    assert whole <= set(ids)
    assert {reply.request_id for reply in replies if reply.request_id} <= set(ids)
    assert len(ids) - known >= asked
    assert not (whole and name.startswith("request."))
    assert not (in_ledger and name.startswith(UNSHIPPED))
    if name in UNASKED:
        assert (asked, len(ids) - known) == (0, UNASKED[name])
    assert (await try_to_ask(courier, model="any")).status == 200
    courier.stop()


def test_every_named_point_is_in_the_code_once():
    code = "\n".join(
        Path(CHECKOUT, path).read_text()
        for package in ("gateway", "usage", "accounts")
        for path in Path(CHECKOUT, package).rglob("*.py")
    )

    reached = re.findall(r'crash_points\.reach\("([^"]+)"\)', code)

    assert sorted(reached) == sorted(crash_points.NAMES)
