"""Redis away: declared, bounded, visible, and never open."""

import asyncio
import contextlib
import os
import signal
import time

import pytest
import redis

from accounts import admission, degraded
from accounts.admission import Mode, admit
from accounts.degraded import Fallback
from accounts.errors import LimitsUnavailable, RateLimited
from accounts.limits import Figures
from accounts.redis_limits import REPLICAS, RedisStore
from accounts.redis_line import FAILURES_TO_OPEN
from accounts.rules import Need
from lib.ids import uuid7
from tests.accounts.conftest import a_budget, a_limit, a_principal, costs, rules_of, tokens
from tests.services import free_port

FREE = tokens(0)
SOFT = a_budget(1_000, hard=False)
SOFT_CALLER = a_principal(budgets=(SOFT,))


@pytest.fixture
async def shared(redis_url, monkeypatch):
    """Admission over a Redis that the test may take away."""
    store = RedisStore(redis_url)
    monkeypatch.setattr(admission, "_store", store)
    monkeypatch.setattr(admission, "_fallback", Fallback())
    monkeypatch.setattr(admission, "_mode", Mode.NORMAL)
    yield store
    await store.close()


@pytest.fixture
def away(shared, redis_server):
    """Stop Redis until the test has ended, or calls `back`."""

    class Switch:
        def __call__(self):
            redis_server.halt()

        def back(self):
            redis_server.start()

    yield Switch()
    if not redis_server.is_ready():
        redis_server.start()


async def patiently(ask, *arguments):
    """What a Redis that is there answers, even if the machine stood still meanwhile."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(LimitsUnavailable):
                return await ask(*arguments)
            await asyncio.sleep(0.05)


async def known(store, *budgets):
    now_us, _ = await patiently(store.claim, budgets, "test")
    windows = [budget.window_at(now_us) for budget in budgets]
    figures = [Figures(one, at, {at: 0}) for one, at in zip(budgets, windows, strict=True)]
    assert all(await patiently(store.build, figures, "test"))


async def granted(principal, need=FREE, *, tries=1):
    """How many of so many requests are let through; the others are refused as limits refuse."""
    count = 0
    for _ in range(tries):
        with contextlib.suppress(RateLimited):
            await admit(principal, uuid7(), "echo", need)
            count += 1
    return count


async def announced(store, *replicas):
    for replica in replicas:
        await patiently(store.pulse, replica, "{}")
    await patiently(admission.announce, store)


async def test_a_replica_that_never_saw_redis_lets_nothing_through(shared, away):
    away()
    with pytest.raises(LimitsUnavailable) as caught:
        await admit(a_principal(a_limit()), uuid7(), "echo", FREE)
    assert caught.value.headers == {"x-courier-limits": "degraded"}


@pytest.mark.parametrize(("replicas", "share"), [(["b"], 5), (["b", "c"], 4), ([], 10)])
async def test_r36_each_replica_has_its_share_of_a_limit(shared, away, replicas, share):
    await announced(shared, *replicas)
    away()
    assert await granted(a_principal(a_limit("requests", 10)), tries=12) == share


async def test_requests_at_the_same_time_are_shared_too(shared, away):
    await announced(shared, "b")
    away()
    principal = a_principal(a_limit("concurrency", 3))
    first, _ = [await admit(principal, uuid7(), "echo", FREE) for _ in range(2)]
    assert await granted(principal) == 0
    first.settle()
    assert await granted(principal) == 1


async def test_r36_a_hard_budget_is_closed(shared, away):
    await announced(shared)
    away()
    with pytest.raises(LimitsUnavailable):
        await admit(a_principal(budgets=(a_budget(10**12),)), uuid7(), "echo", costs(1))


async def test_what_is_free_needs_no_hard_budget(shared, away):
    await announced(shared)
    away()
    assert await granted(a_principal(budgets=(a_budget(10**12),))) == 1


async def test_r36_a_soft_budget_has_a_hundredth_and_is_closed_then(shared, away):
    await announced(shared)
    away()
    assert await granted(SOFT_CALLER, costs(5), tries=2) == 2
    with pytest.raises(LimitsUnavailable):
        await admit(SOFT_CALLER, uuid7(), "echo", costs(1))


async def test_what_a_request_did_not_use_of_the_allowance_comes_back(shared, away):
    await announced(shared)
    away()
    reservation = await admit(SOFT_CALLER, uuid7(), "echo", costs(10))
    reservation.settle(cost_nano=2)
    assert await granted(SOFT_CALLER, costs(8)) == 1


async def test_an_allowance_is_whole_again_when_redis_answered(shared, away, monkeypatch):
    monkeypatch.setattr(degraded, "REFRESH_EVERY_S", 0)
    await announced(shared)
    away()
    assert await granted(SOFT_CALLER, costs(10)) == 1
    away.back()
    await patiently(admission.announce, shared)
    away()
    assert await granted(SOFT_CALLER, costs(10)) == 1


async def test_an_allowance_is_not_whole_again_too_often(shared, away):
    await announced(shared)
    away()
    assert await granted(SOFT_CALLER, costs(10)) == 1
    away.back()
    await patiently(admission.announce, shared)
    away()
    with pytest.raises(LimitsUnavailable):
        await admit(SOFT_CALLER, uuid7(), "echo", costs(1))


async def test_every_answer_says_so(shared, away):
    await announced(shared)
    principal = a_principal(a_limit("requests", 1))
    away()
    reservation = await admit(principal, uuid7(), "echo", FREE)
    with pytest.raises(RateLimited) as caught:
        await admit(principal, uuid7(), "echo", FREE)
    without_limits = await admit(a_principal(), uuid7(), "echo", FREE)
    for headers in (reservation.headers, caught.value.headers, without_limits.headers):
        assert headers["x-courier-limits"] == "degraded"
    assert admission.mode() is Mode.DEGRADED


async def test_while_redis_answers_nothing_is_said(shared):
    reservation = await admit(a_principal(a_limit()), uuid7(), "echo", FREE)
    assert "x-courier-limits" not in reservation.headers


async def test_more_is_not_held_where_a_hard_budget_is_in_doubt(shared, away):
    budget = a_budget(1_000)
    await known(shared, budget)
    reservation = await admit(a_principal(budgets=(budget,)), uuid7(), "echo", costs(10))
    away()
    with pytest.raises(LimitsUnavailable):
        await reservation.extend(10)


async def test_a_soft_budget_alone_cuts_no_stream(shared, away):
    await known(shared, SOFT)
    reservation = await admit(SOFT_CALLER, uuid7(), "echo", costs(10))
    away()
    assert await reservation.extend(10)
    assert reservation.held_nano == 20


PAUSE_MS = 6_000
FAULTS = ["stopped", "frozen", "paused", "full", "read-only", "locked"]


@pytest.fixture(params=FAULTS)
def fault(request, redis_server, shared):
    """One way in which Redis may fail, begun when called and ended by `end`."""
    client = redis.Redis(port=redis_server.port)
    process = redis_server._process
    other = {"stopped": redis_server.halt, "frozen": lambda: os.kill(process.pid, signal.SIGSTOP)}
    begin = {
        **other,
        "paused": lambda: client.client_pause(PAUSE_MS),
        "full": lambda: client.config_set("maxmemory", "1"),
        "read-only": lambda: client.replicaof("127.0.0.1", free_port()),
        "locked": lambda: client.config_set("requirepass", "another") and drop(client),
    }
    end = {
        "stopped": redis_server.start,
        "frozen": lambda: os.kill(process.pid, signal.SIGCONT),
        "paused": lambda: time.sleep(PAUSE_MS / 1000),
        "full": lambda: client.config_set("maxmemory", "0"),
        "read-only": lambda: client.replicaof("NO", "ONE"),
        "locked": lambda: unlocked(redis_server),
    }
    yield begin[request.param], end[request.param]
    client.close()


def drop(client):
    client.client_kill_filter(_type="normal", skipme=True)


def unlocked(redis_server):
    with redis.Redis(port=redis_server.port, password="another") as client:
        client.config_set("requirepass", "")


async def test_r36_f30_f31_f32_f34_f35_nothing_is_open_and_all_comes_back(shared, fault):
    begin, end = fault
    hard = a_budget(10**12)
    await known(shared, hard)
    await announced(shared, "b")
    paying, limited = a_principal(budgets=(hard,)), a_principal(a_limit("requests", 4))
    begin()
    try:
        for _ in range(4):
            with pytest.raises(LimitsUnavailable):
                await admit(paying, uuid7(), "echo", costs(1))
        assert 0 < await granted(limited, tries=6) < 4
    finally:
        end()
    await patiently(admission.announce, shared)
    assert admission.mode() is Mode.NORMAL
    assert await granted(a_principal(a_limit("requests", 4, scope="key:2")), tries=6) == 4


async def test_f35_a_redis_that_refuses_everything_is_not_asked_for_a_while(shared, redis_client):
    redis_client.replicaof("127.0.0.1", free_port())
    try:
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(LimitsUnavailable):
                await admit(a_principal(a_limit()), uuid7(), "echo", FREE)
        assert admission.is_redis_away()
    finally:
        redis_client.replicaof("NO", "ONE")


@pytest.fixture
def evicting(redis_client):
    redis_client.config_set("maxmemory", "100mb")
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    yield
    redis_client.config_set("maxmemory-policy", "noeviction")
    redis_client.config_set("maxmemory", "0")


@pytest.mark.parametrize(("allowed", "is_closed"), [(False, True), (True, False)])
async def test_f34_a_redis_that_evicts_is_not_used(shared, evicting, settings, allowed, is_closed):
    settings.COURIER_REDIS_MAY_EVICT = allowed
    await admission.start()
    try:
        async with asyncio.timeout(30):
            while not admission._fallback.replicas:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        if is_closed:
            with pytest.raises(LimitsUnavailable):
                await admit(a_principal(a_limit()), uuid7(), "echo", FREE)
        else:
            assert await granted(a_principal(a_limit())) == 1
    finally:
        await admission.stop()


@pytest.fixture
def policy_of(redis_client):
    """Set what Redis may take of memory, and what it does when that is full."""

    def set_policy(most, policy):
        redis_client.config_set("maxmemory", most)
        redis_client.config_set("maxmemory-policy", policy)

    yield set_policy
    set_policy("0", "noeviction")


@pytest.mark.parametrize(
    ("most", "policy", "told"),
    [
        ("0", "allkeys-lru", ""),
        ("100mb", "noeviction", ""),
        ("100mb", "volatile-ttl", "volatile-ttl"),
    ],
)
async def test_f34_a_redis_evicts_that_has_a_limit_and_a_policy_to(
    redis_url, policy_of, most, policy, told
):
    policy_of(most, policy)
    store = RedisStore(redis_url)
    assert await store.evicts() == told
    await store.close()


@pytest.fixture
async def reticent(redis_client, redis_server, monkeypatch):
    """Admission over a Redis that does not tell its policy."""
    rights = {"categories": ["+@all"], "commands": ["-info"], "keys": ["*"], "channels": ["*"]}
    redis_client.acl_setuser("reticent", enabled=True, passwords=["+open"], **rights)
    store = RedisStore(redis_server.url().replace("//", "//reticent:open@"))
    monkeypatch.setattr(admission, "_store", store)
    await admission.start()
    yield
    await admission.stop()
    redis_client.acl_deluser("reticent")


async def test_r27_signs_of_life_go_on_where_the_policy_cannot_be_asked(reticent, redis_client):
    for _ in range(2):
        async with asyncio.timeout(30):
            while not redis_client.zcard(REPLICAS):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        redis_client.delete(REPLICAS)


async def test_r14_a_start_is_over_when_redis_has_answered(shared):
    await admission.start()
    seen = admission._fallback.replicas
    await admission.stop()

    assert seen


async def test_f33_all_that_is_held_is_held_again_after_redis_began_anew(shared, redis_server):
    budget = a_budget(1_000)
    await known(shared, budget)
    await admission.start()
    try:
        caller = a_principal(a_limit("concurrency", 5), budgets=(budget,))
        reservation = await admit(caller, uuid7(), "echo", Need(0, 0, 70))
        with redis.Redis(port=redis_server.port) as client:
            client.flushall()
        async with asyncio.timeout(30):
            while (await shared.look(rules_of(budget))).reserved != [70]:
                await asyncio.sleep(0.05)
        look = await shared.look(rules_of(a_limit("concurrency", 5), budget))
        assert (look.used, look.spent, look.reserved) == ([1], [-1], [70])
        reservation.settle()
    finally:
        await admission.stop()
