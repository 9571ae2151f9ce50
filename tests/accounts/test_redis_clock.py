"""F37: Redis's clock, the one that counts, jumps."""

import asyncio

import pytest
import redis

from accounts.redis_limits import RedisStore
from tests import services
from tests.accounts.conftest import a_limit, by, rules_of, tokens
from tests.faults.clocks import FakeClock
from tests.faults.figures import figure

HOUR_S = 3600
LIMIT = 10


@pytest.fixture
def clock(tmp_path):
    return FakeClock(tmp_path)


@pytest.fixture
def jumping_redis(redis_server, clock):
    server = services.Redis(clock.environment)
    yield server
    server.stop()


@pytest.fixture
async def store(jumping_redis):
    made = RedisStore(jumping_redis.url())
    yield made
    await made.close()


async def admitted(store, rules, tries, start=0):
    verdicts = [
        await store.admit(rules, f"lease-{start + number}", tokens(0)) for number in range(tries)
    ]
    return sum(verdict.refused < 0 for verdict in verdicts)


def told_by(server):
    with redis.Redis(port=server.port) as client:
        return client.time()[0]


async def test_f37_the_clock_of_the_test_s_redis_jumps(jumping_redis, clock):
    before = told_by(jumping_redis)

    clock.shift_s(-HOUR_S)

    assert -HOUR_S - 5 < told_by(jumping_redis) - before < -HOUR_S + 60


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
async def test_f37_a_clock_that_jumps_lets_through_one_window_more_at_most(store, clock, jump_s):
    rules = rules_of(a_limit("requests", LIMIT, window_s=2))
    before = await admitted(store, rules, LIMIT + 5)

    clock.shift_s(jump_s)
    at_once = await admitted(store, rules, LIMIT + 5, start=100)
    await asyncio.sleep(2.2)
    later = await admitted(store, rules, LIMIT + 5, start=200)

    figure("F37", f"{jump_s:+d} s: {before + at_once} of {LIMIT} in the window", "≤ 2 windows")
    assert (before, later) == (LIMIT, LIMIT)
    assert at_once <= LIMIT


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
async def test_f37_what_is_held_over_a_jump_is_let_go(store, clock, jump_s):
    rules = rules_of(a_limit("concurrency", LIMIT))
    assert await admitted(store, rules, LIMIT + 1) == LIMIT

    clock.shift_s(jump_s)
    for number in range(LIMIT):
        store.settle(rules, f"lease-{number}", by(0, [0]))
    await asyncio.sleep(0.2)

    assert list((await store.look(rules)).used) == [0]
    assert await admitted(store, rules, LIMIT + 1, start=100) == LIMIT
