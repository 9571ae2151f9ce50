"""R36: whatever happens to Redis, nothing is open, nobody waits long, and all comes back."""

import asyncio
import time

import pytest

from tests import services
from tests.e2e import redis_troubles as troubles
from tests.e2e.client import ask, try_to_ask
from tests.e2e.courier import Courier, PostgresAndRedis
from tests.e2e.manifests import key, manifest
from tests.e2e.steady import Steady
from tests.faults.figures import figure
from tests.soak import trials

LIMITED = "e2e-limited-0123456789abcdef0123456789"
PAYING = "e2e-paying-0123456789abcdef01234567890"
TROUBLED_S = trials(3, 20)
TROUBLES = [
    pytest.param(troubles.stopped, id="f30-stopped"),
    pytest.param(troubles.frozen, id="f31-frozen"),
    pytest.param(troubles.slow, id="f32-slow"),
    pytest.param(troubles.out_of_memory, id="f34-out-of-memory"),
    pytest.param(troubles.read_only, id="f35-read-only"),
    pytest.param(troubles.locked, id="f35-locked"),
]
#: What the log tells the operator to look at.
TOLD = {"out_of_memory": "OOM", "read_only": "READONLY", "locked": "password"}


@pytest.fixture(scope="module")
def own_redis(redis_server):
    server = services.Redis()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def courier(make_database, own_redis, shared_upstream):
    """A Courier with a Redis of its own, for these tests to break and to mend."""
    directory, database = make_database("postgres")
    database = PostgresAndRedis(database.postgres, database.name, own_redis.url())
    courier = Courier(directory, database, COURIER_REDIS_DEADLINE="0.1")
    settings = manifest(shared_upstream.url)
    settings["teams"].append(
        {"name": "sales", "budgets": [{"amount": "1000", "period": "month", "hard": True}]}
    )
    settings["keys"] += [
        key(LIMITED, 1, {"rpm": 100_000}),
        key(PAYING, 2) | {"team": "sales"},
    ]
    courier.apply(settings)
    yield courier.start()
    courier.stop()


async def until_healthy(courier):
    """Until a budget is open again, and nothing says that limits are degraded."""
    began = time.monotonic()
    while time.monotonic() - began < 30:
        reply = await try_to_ask(courier, key=PAYING)
        if reply.status == 200 and "x-courier-limits" not in reply.headers:
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    raise AssertionError(f"Still {reply.status} {reply.body} after 30 s.")


async def usual_s(courier):
    """What a request takes while all is well."""
    began = time.monotonic()
    for _ in range(20):
        await ask(courier, key=LIMITED)
    return (time.monotonic() - began) / 20


@pytest.mark.fault
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_r36_f30_f31_f32_f34_f35_nothing_is_open_and_nobody_waits_long(
    courier, own_redis, trouble
):
    await until_healthy(courier)
    usual = await usual_s(courier)
    logged = len(courier.read_log())

    with trouble(own_redis):
        first = Steady(courier, callers=1, key=LIMITED)
        async with first:
            await asyncio.sleep(0.5)
        async with (
            Steady(courier, callers=2, key=LIMITED) as limited,
            Steady(courier, callers=2, key=PAYING) as paying,
            Steady(courier, callers=1) as free,
        ):
            await asyncio.sleep(TROUBLED_S)
    back = await until_healthy(courier)

    name = trouble.__name__
    extra = 1000 * (max(first.took) - usual)
    later = limited.took_ms() - 1000 * usual
    seen = f"{name}: first {extra:+.0f} ms, then {later:+.1f} ms (p50); well {back:.1f} s after"
    figure("R36", seen, "first ≤ 100 ms extra, then ≤ 2 ms")
    print(f"\n{seen}; paying {dict(paying.codes)}")
    assert (free.statuses.keys(), limited.statuses.keys()) == ({200}, {200})
    # A pause lets a budget's question through now and then, and what got through is counted.
    open_at_times = {(200, "")} if name == "slow" else set()
    assert set(paying.codes) - open_at_times <= {(503, "limits_unavailable")}
    assert (503, "limits_unavailable") in paying.codes
    assert max(first.took) < 5
    assert TOLD.get(name, "") in courier.read_log()[logged:]
