"""R28, R29 and R31: what budgets promise over processes that crash, cancel and are wrong about
the time."""

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
import redis

from accounts.limits import RESERVED, Figures, Settlement
from accounts.periods import from_us, to_us
from accounts.purses import HOLD_US
from accounts.redis_limits import RedisStore, daytime_us
from tests.accounts.conftest import Clock, a_budget, a_limit, costs, rules_of, tokens
from tests.accounts.spender import POINTS
from tests.soak import trials

AMOUNT = 3_000_000
SECONDS = trials(4, 60)
KILLS = trials(2, 30)
BUDGET = a_budget(AMOUNT, "total")
KEY = f"courier:budget:{BUDGET.place}"


def spender(url, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.accounts.spender", url, str(AMOUNT), *map(str, arguments)],
        stdout=subprocess.PIPE,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
    )


@pytest.fixture
async def known(redis_url):
    """The budget, known and unspent."""
    store = RedisStore(redis_url)
    await store.claim([BUDGET], "test")
    assert await store.build([Figures(BUDGET, 0, {0: 0})], "test") == [True]
    yield store
    await store.close()


class Sampler:
    """Looks at the budget every 5 ms, and remembers the most that was spent and held."""

    def __init__(self, url):
        self._client = redis.Redis.from_url(url)
        self._done = threading.Event()
        self.most = self.looks = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        self._client.close()

    def _run(self):
        while not self._done.wait(0.005):
            spent, reserved = self._client.hmget(KEY, "spent", "reserved")
            self.most = max(self.most, int(spent or 0) + int(reserved or 0))
            self.looks += 1


@pytest.mark.promise
async def test_r28_two_instances_never_spend_and_hold_more_than_there_is(known, redis_url):
    rng = random.Random(28)
    with Sampler(redis_url) as sampler:
        running = [spender(redis_url, number, 100, SECONDS + 2) for number in range(2)]
        for number in range(KILLS):
            await asyncio.sleep(SECONDS / KILLS * rng.uniform(0.5, 1))
            doomed = running.pop(0)
            doomed.kill()
            doomed.communicate()
            running.append(spender(redis_url, 10 + number, 100, SECONDS + 2))
        told = [await asyncio.to_thread(process.communicate) for process in running]

    asked = sum(int(output.split()[1]) for output, _ in told)
    look = await known.look(rules_of(BUDGET))
    print(f"\n{asked} requests of the last two, {sampler.looks} looks, most {sampler.most} "
          f"of {AMOUNT}, spent {look.spent[0]}, held {look.reserved[0]}")  # fmt: skip
    assert sampler.most <= AMOUNT
    assert look.spent[0] <= AMOUNT
    assert sampler.looks > 100


@pytest.mark.promise
async def test_r28_what_is_spent_is_what_was_settled(known, redis_url):
    running = [spender(redis_url, number, 100, SECONDS) for number in range(2)]
    told = [await asyncio.to_thread(process.communicate) for process in running]

    settled = sum(int(output.split()[0]) for output, _ in told)
    look = await known.look(rules_of(BUDGET))
    assert (look.spent[0], look.reserved[0]) == (settled, 0)


@pytest.mark.promise
@pytest.mark.parametrize("point", POINTS)
async def test_r29_a_crash_holds_nothing_longer_than_one_lease(known, redis_url, point):
    crashed = spender(redis_url, point)
    await asyncio.to_thread(crashed.communicate)
    assert crashed.returncode == -9

    later = RedisStore(redis_url, lambda: daytime_us() + HOLD_US + 1_000_000)
    look = await later.look(rules_of(BUDGET))
    await later.close()

    assert look.reserved == [0]
    assert look.spent == [0]


MIDNIGHT = to_us(datetime(2026, 11, 30, tzinfo=UTC))
SKEW_US = 90_000_000


@pytest.fixture
async def skewed(redis_url):
    """Two instances, one with a clock that is 90 s fast and one 90 s slow, and Redis's clock."""
    clock = Clock()
    stores = [
        RedisStore(redis_url, clock, lambda skew=skew: clock() + skew)
        for skew in (SKEW_US, -SKEW_US)
    ]
    yield (*stores, clock)
    for store in stores:
        await store.close()


@pytest.mark.promise
async def test_r31_a_clock_that_is_wrong_moves_no_money(skewed):
    fast, slow, clock = skewed
    budget = a_budget(1000)
    seen = []
    for seconds in (-100, -80, -1, 0, 80, 100):
        clock.now = MIDNIGHT + seconds * 1_000_000
        for store in (fast, slow):
            now_us, claims = await store.claim([budget], "test")
            if list(claims) == [1]:
                window = budget.window_at(now_us)
                await store.build([Figures(budget, window, {window: 0})], "test")
            rules = rules_of(budget)
            verdict = await store.admit(rules, "a", costs(10))
            assert verdict.refused == RESERVED
            end = Settlement(costs(10), costs(10), verdict.newest, verdict.windows)
            store.settle(rules, "a", end)
            look = await store.look(rules)
            seen.append((from_us(look.windows[0]).day, look.spent[0]))
    assert seen == [*((29, 10 * n) for n in range(1, 7)), *((30, 10 * n) for n in range(1, 7))]


@pytest.mark.promise
async def test_r31_a_limit_is_exact_for_clocks_that_are_wrong(redis_url):
    stores = [
        RedisStore(redis_url, own_clock=lambda skew=skew: daytime_us() + skew)
        for skew in (SKEW_US, -SKEW_US)
    ]
    rules = rules_of(a_limit("requests", 600, 86_400))
    began = time.monotonic()
    asked = (stores[n % 2].admit(rules, f"lease-{n}", tokens(0)) for n in range(1000))
    verdicts = await asyncio.gather(*asked)
    print(f"\n1000 admissions in {time.monotonic() - began:.2f} s")
    assert sum(verdict.refused == RESERVED for verdict in verdicts) == 600
    for store in stores:
        await store.close()
