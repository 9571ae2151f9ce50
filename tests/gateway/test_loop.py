"""The event loop is never held up for long."""

import asyncio
import json
import time

import pytest

from tests.faults.figures import figure
from tests.gateway.conftest import HELLO

MEGABYTE = {"role": "user", "content": 'Words, "quoted" ones, and\nmore of them. ' * 25_000}
TURNS = [{"role": "user", "content": [{"type": "text", "text": "Word. " * 100}]}] * 1600
TOOLS = [
    {"type": "function", "function": {"name": f"f{each}", "parameters": {"type": "object",
     "properties": {f"p{one}": {"type": "string"} for one in range(40)}}}}
    for each in range(500)
]  # fmt: skip


async def look(lags):
    """Note how late the loop is because of its work, each few milliseconds."""
    while True:
        due, worked = time.perf_counter() + 0.005, time.thread_time()
        await asyncio.sleep(0.005)
        lags.append(min(time.perf_counter() - due, time.thread_time() - worked))


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("one long text", {"messages": [MEGABYTE]}),
        ("1,600 messages", {"messages": TURNS}),
        ("500 tools", {"messages": [HELLO], "tools": TOOLS}),
    ],
)
async def test_r18_bodies_of_a_megabyte_do_not_stall_the_loop(courier, key, what, body):
    content = json.dumps({"model": "tiny", **body}).encode()
    lags, replies = [], []
    looking = asyncio.create_task(look(lags))
    for _ in range(3):
        replies.append(
            await courier.request("POST", "/v1/chat/completions", key=key, content=content)
        )
    looking.cancel()

    lags.sort()
    p999, most = lags[int(len(lags) * 0.999)], lags[-1]
    size = f"{len(content) / 1e6:.1f} MB"
    figure("R18", f"{what} ({size}): p99.9 {p999 * 1000:.0f} ms", "≤ 50 ms")
    figure(
        "R18",
        f"{what} ({size}): at most {most * 1000:.0f} ms, client and upstream included",
        "≤ 250 ms",
    )
    assert [reply.status for reply in replies] == [200] * 3
    assert most < 2
