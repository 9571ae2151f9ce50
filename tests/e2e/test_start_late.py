"""R41: Courier starts with everything down, says so, and serves as soon as all is there."""

import asyncio
import time

from tests.e2e.client import try_to_ask
from tests.faults.figures import figure
from tests.services import wait_for


async def test_r41_a_courier_that_was_first_is_ready_soon_after_its_services(
    own_courier, own_postgres, own_redis
):
    courier = own_courier
    own_postgres.halt()
    own_redis.halt()
    courier.begin()
    await asyncio.to_thread(wait_for, lambda: courier.status("/health/live") == 200, "life")
    process = courier._process.pid
    asked_early = await try_to_ask(courier)
    was_ready = await asyncio.to_thread(courier.status, "/health/ready")

    await asyncio.to_thread(own_redis.start)
    await asyncio.to_thread(own_postgres.start)
    began = time.monotonic()
    await asyncio.to_thread(courier.wait_until_ready)
    took = time.monotonic() - began
    reply = await try_to_ask(courier)
    answered = time.monotonic() - began
    while reply.status == 503 and answered < 60:
        await asyncio.sleep(0.1)
        reply = await try_to_ask(courier)
        answered = time.monotonic() - began

    seen = f"ready {took:.1f} s after they came, first answer after {answered:.1f} s"
    figure("R41", seen, "≤ 5 s, without a restart")
    print(f"\n{seen}")
    assert (was_ready, asked_early.status) == (503, 503)
    assert reply.status == 200
    assert (courier.is_running, courier._process.pid) == (True, process)
