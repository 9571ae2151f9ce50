"""R36: whatever happens to Redis, nothing is open, nobody waits long, and all comes back."""

import asyncio
import contextlib
import statistics
import time

import pytest

from tests import services
from tests.e2e import redis_troubles as troubles
from tests.e2e.client import try_to_ask
from tests.e2e.courier import Courier, PostgresAndRedis
from tests.e2e.manifests import key, manifest
from tests.e2e.packets import vanished
from tests.e2e.steady import Steady
from tests.faults.figures import figure
from tests.soak import trials

LIMITED = "e2e-limited-0123456789abcdef0123456789"
PAYING = "e2e-paying-0123456789abcdef01234567890"
#: As it is outside of tests.
DEADLINE = "0.075"
TROUBLED_S = trials(2, 20)
TROUBLES = [
    pytest.param(troubles.stopped, id="f30-stopped"),
    pytest.param(troubles.frozen, id="f31-frozen"),
    pytest.param(vanished, id="f31-vanished"),
    pytest.param(troubles.slow, id="f32-slow"),
    pytest.param(troubles.out_of_memory, id="f34-out-of-memory"),
    pytest.param(troubles.read_only, id="f35-read-only"),
    pytest.param(troubles.locked, id="f35-locked"),
]
#: What the log tells the operator to look at.
TOLD = {"out_of_memory": "OOM", "read_only": "READONLY", "locked": "password"}


#: Requests after the beginning of a trouble that may be the first to meet it.
FIRST = 10
PAIRS = trials(60, 400)


@contextlib.contextmanager
def courier_with(make_database, server, upstream):
    """A Courier whose limits are counted in this Redis."""
    directory, database = make_database("postgres")
    database = PostgresAndRedis(database.postgres, database.name, server.url())
    courier = Courier(directory, database, COURIER_REDIS_DEADLINE=DEADLINE)
    settings = manifest(upstream.url)
    # So that one request has to ask Redis more than once.
    settings["providers"][0]["keys"][0]["limits"] = {"rpm": 1_000_000}
    settings["teams"].append(
        {"name": "sales", "budgets": [{"amount": "1000", "period": "month", "hard": True}]}
    )
    settings["keys"] += [
        key(LIMITED, 1, {"rpm": 1_000_000}),
        key(PAYING, 2) | {"team": "sales"},
    ]
    courier.apply(settings)
    yield courier.start()
    courier.stop()


@pytest.fixture(scope="module")
def own_redis(redis_server):
    server = services.Redis()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def courier(make_database, own_redis, shared_upstream):
    """One with a Redis of its own, for these tests to break and to mend."""
    with courier_with(make_database, own_redis, shared_upstream) as courier:
        yield courier


@pytest.fixture(scope="module")
def well(make_database, redis_server, shared_upstream):
    """Another, to whose Redis nothing happens: what a request takes at this moment."""
    with courier_with(make_database, redis_server, shared_upstream) as courier:
        yield courier


async def until_healthy(courier):
    """Until a budget is open again, and nothing says that limits are degraded."""
    began = time.monotonic()
    while time.monotonic() - began < 30:
        reply = await try_to_ask(courier, key=PAYING)
        if reply.status == 200 and "x-courier-limits" not in reply.headers:
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    raise AssertionError(f"Still {reply.status} {reply.body} after 30 s.")


class Pairs:
    """The same request to both Couriers, one after the other, again and again."""

    def __init__(self, courier, well):
        self._couriers = courier, well
        self.statuses = set()
        #: Milliseconds that each took with the trouble, and without.
        self.took = []

    async def ask(self, count):
        for _ in range(count):
            self.took.append([await self._ask(one) for one in self._couriers])
            await asyncio.sleep(0.02)

    async def _ask(self, courier):
        began = time.monotonic()
        reply = await try_to_ask(courier, key=LIMITED)
        self.statuses.add(reply.status)
        return 1000 * (time.monotonic() - began)

    @property
    def usual(self):
        return statistics.median(without for _, without in self.took)

    @property
    def first(self):
        """What the slowest of the first requests took more than requests take."""
        return max(troubled for troubled, _ in self.took[:FIRST]) - self.usual

    @property
    def later(self):
        """What those after them took more, as a median."""
        return statistics.median(troubled - without for troubled, without in self.took[FIRST:])

    @property
    def waited(self):
        """How many of those after them took half a deadline more."""
        bound = self.usual + 1000 * float(DEADLINE) / 2
        return sum(troubled > bound for troubled, _ in self.took[FIRST:])


@pytest.mark.fault
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_r36_f30_f31_f32_f34_f35_nothing_is_open_and_nobody_waits_long(
    courier, well, own_redis, trouble
):
    await until_healthy(courier)
    await until_healthy(well)
    logged = len(courier.read_log())
    pairs = Pairs(courier, well)

    with trouble(own_redis):
        await pairs.ask(FIRST + PAIRS)
        async with (
            Steady(courier, callers=2, key=LIMITED) as limited,
            Steady(courier, callers=2, key=PAYING) as paying,
            Steady(courier, callers=1) as free,
        ):
            await asyncio.sleep(TROUBLED_S)
    back = await until_healthy(courier)

    name = trouble.__name__
    seen = (
        f"{name}: first {pairs.first:+.0f} ms, then {pairs.later:+.1f} ms (p50), "
        f"{pairs.waited} of {PAIRS} waited; well {back:.1f} s after"
    )
    figure("R36", seen, "first ≤ 100 ms extra, then ≤ 2 ms")
    print(f"\n{seen}; paying {dict(paying.codes)}")
    assert pairs.statuses | free.statuses.keys() | limited.statuses.keys() == {200}
    # A pause lets a budget's question through now and then, and what got through is counted.
    open_at_times = {(200, "")} if name == "slow" else set()
    assert set(paying.codes) - open_at_times <= {(503, "limits_unavailable")}
    assert (503, "limits_unavailable") in paying.codes
    assert pairs.first < 5000
    # Of pairs, so that a busy machine is in both; who waits each time takes a deadline more.
    assert pairs.later < 1000 * float(DEADLINE) / 2
    assert TOLD.get(name, "") in courier.read_log()[logged:]
