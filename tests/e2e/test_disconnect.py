import asyncio
import statistics
import time

import pytest

from tests.e2e.client import Call
from tests.e2e.manifests import manifest
from tests.fakes.upstream import HELLO, OPENING, STALL, Answer
from tests.faults.figures import figure
from tests.services import wait_for
from tests.soak import trials

ROUNDS = trials(5, 100)


@pytest.fixture(scope="module")
def courier(launch, shared_upstream):
    return launch(manifest(shared_upstream.url))


async def leave_in_mid_stream(call):
    await call.read_head()
    await call.read_piece()
    call.leave()


async def reset_in_mid_stream(call):
    await call.read_head()
    await call.read_piece()
    call.reset()


async def leave_before_the_headers(call):
    await asyncio.sleep(0.05)
    call.leave()


async def reset_before_the_headers(call):
    await asyncio.sleep(0.05)
    call.reset()


async def seconds_until_noticed(courier, upstream, leave, **options):
    """How long after the client left the upstream saw its connection closed."""
    before = len(upstream.departures)
    called = len(upstream.requests)
    async with Call(courier, **options) as call:
        await asyncio.to_thread(wait_for, lambda: len(upstream.requests) > called, "the call", 30)
        await leave(call)
        left_at = time.monotonic()
        await asyncio.to_thread(
            wait_for, lambda: len(upstream.departures) > before, "the upstream to see it", 30, 0.005
        )
    return upstream.departures[-1] - left_at


@pytest.mark.parametrize(
    ("leave", "parts", "stream"),
    [
        (leave_in_mid_stream, (OPENING, HELLO, STALL), True),
        (reset_in_mid_stream, (OPENING, HELLO, STALL), True),
        (leave_before_the_headers, (STALL,), True),
        (reset_before_the_headers, (STALL,), True),
        (leave_before_the_headers, (STALL,), False),
        (reset_before_the_headers, (STALL,), False),
    ],
    ids=[
        "stream-left", "stream-reset", "stream-left-early", "stream-reset-early",
        "whole-left", "whole-reset",
    ],
)  # fmt: skip
async def test_r10_the_upstream_is_left_when_the_client_leaves(
    courier, shared_upstream, leave, parts, stream
):
    before = parts if not isinstance(parts[0], bytes) else ()
    shared_upstream.default = lambda request: Answer(() if before else parts, before=before)

    delays = [
        await seconds_until_noticed(courier, shared_upstream, leave, stream=stream)
        for _ in range(ROUNDS)
    ]

    ranked = sorted(delays)
    p99 = ranked[round(0.99 * (len(ranked) - 1))]
    figure("R10", f"p99 {p99 * 1000:.1f} ms", "<= 250 ms")
    print(
        f"\n{statistics.median(delays) * 1000:.1f} ms median, {max(delays) * 1000:.1f} ms at most"
    )
    gone = courier.wait_for_records(len(courier.records()) or 1)
    assert gone >= 1
    assert set(courier.records("outcome")) == {"client_disconnected"}
