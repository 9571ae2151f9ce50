"""Whose an idempotency key is, where several processes ask."""

import asyncio
import contextlib
import os
import signal

import pytest
import redis

from gateway import claims
from gateway.claims import MOST_SENDS, LocalClaims, RedisClaims, State
from gateway.idempotency_errors import IdempotencyUnavailable
from tests.gateway.conftest import WITHIN_S
from tests.services import free_port

#: An answer that ends each connection on which it is told.
FATAL = "connections-end-here"


async def warmed(one):
    """Connected. A busy machine may take longer than Redis has for an answer."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(IdempotencyUnavailable):
                return await one.claim(f"warm-{id(one)}", "", "")
            await asyncio.sleep(0.05)


@pytest.fixture
async def both(redis_server):
    """Two processes' ways to one Redis."""
    url = redis_server.url(7)
    made = RedisClaims(url), RedisClaims(url)
    for one in made:
        await warmed(one)
    yield made
    for one in made:
        await one.close()


@pytest.fixture
def frozen(redis_server):
    """Freeze Redis for the rest of the test."""
    process = redis_server._process.pid
    yield lambda: os.kill(process, signal.SIGSTOP)
    os.kill(process, signal.SIGCONT)


@pytest.fixture
def name(request):
    return f"{request.node.name}-{os.getpid()}"


async def test_one_of_many_has_the_key(both, name):
    verdicts = await asyncio.gather(
        *(both[number % 2].claim(name, "digest", f"token-{number}") for number in range(50))
    )

    assert sorted(verdict.state for verdict in verdicts) == ["new", *["running"] * 49]


async def test_another_digest_is_another_request(both, name):
    await both[0].claim(name, "digest", "mine")

    assert (await both[1].claim(name, "other", "yours")).state is State.OTHER


async def test_what_is_kept_is_told_to_all(both, name):
    await both[0].claim(name, "digest", "mine")
    both[0].keep(name, "digest", "mine", "sealed")
    await both[0].claim("another", "", "")  # its answer comes behind what was posted

    assert await both[1].claim(name, "digest", "yours") == (State.DONE, "sealed")


async def test_what_is_released_can_be_had(both, name):
    await both[0].claim(name, "digest", "mine")
    both[0].release(name, "mine")
    await both[0].claim("another", "", "")

    assert (await both[1].claim(name, "digest", "yours")).state is State.NEW


async def test_nobody_releases_or_keeps_what_is_not_theirs(both, name):
    await both[0].claim(name, "digest", "mine")
    both[1].release(name, "yours")
    both[1].keep(name, "digest", "yours", "")
    await both[1].claim("another", "", "")

    assert (await both[1].claim(name, "digest", "yours")).state is State.RUNNING


async def test_whoever_had_the_key_may_have_died(both, name, monkeypatch):
    monkeypatch.setattr(claims, "LEASE_S", 0.05)
    await both[0].claim(name, "digest", "mine")
    await asyncio.sleep(0.1)

    assert (await both[1].claim(name, "digest", "yours")).state is State.LOST


async def test_whoever_renews_is_alive(both, name, monkeypatch):
    monkeypatch.setattr(claims, "LEASE_S", 0.5)
    await both[0].claim(name, "digest", "mine")
    monkeypatch.setattr(claims, "LEASE_S", 60)
    both[0].renew(name, "digest", "mine")
    await asyncio.sleep(0.6)

    assert (await both[1].claim(name, "digest", "yours")).state is State.RUNNING


async def test_whoever_renews_once_and_no_more_may_have_died(both, name, monkeypatch):
    await both[0].claim(name, "digest", "mine")
    monkeypatch.setattr(claims, "LEASE_S", 0.05)
    both[0].renew(name, "digest", "mine")
    await both[0].claim("another", "", "")
    await asyncio.sleep(0.1)

    assert (await both[1].claim(name, "digest", "yours")).state is State.LOST


async def test_nobody_renews_what_is_another_s(both, name, monkeypatch):
    monkeypatch.setattr(claims, "LEASE_S", 0.05)
    await both[0].claim(name, "digest", "mine")
    monkeypatch.setattr(claims, "LEASE_S", 60)
    both[1].renew(name, "digest", "yours")
    await both[1].claim("another", "", "")
    await asyncio.sleep(0.1)

    assert (await both[1].claim(name, "digest", "yours")).state is State.LOST


@pytest.fixture
def forgetful(redis_server):
    """A Redis that loses all it knows when told to."""
    with contextlib.closing(redis.Redis.from_url(redis_server.url(7))) as connection:
        yield connection.flushdb


async def test_f33_what_redis_has_lost_is_taken_again_by_whoever_is_at_it(both, name, forgetful):
    await both[0].claim(name, "digest", "mine")
    forgetful()
    both[0].renew(name, "digest", "mine")
    await both[0].claim("another", "", "")

    assert (await both[1].claim(name, "digest", "yours")).state is State.RUNNING
    assert (await both[1].claim(name, "other", "yours")).state is State.OTHER


async def test_f33_what_is_done_is_told_though_redis_had_lost_it(both, name, forgetful):
    await both[0].claim(name, "digest", "mine")
    forgetful()
    both[0].keep(name, "digest", "mine", "sealed")
    await both[0].claim("another", "", "")

    assert await both[1].claim(name, "digest", "yours") == (State.DONE, "sealed")


@pytest.mark.parametrize("is_done", [False, True])
async def test_f33_what_redis_had_lost_is_theirs_again_and_nobody_else_s(
    both, name, forgetful, is_done
):
    await both[0].claim(name, "digest", "mine")
    forgetful()
    if is_done:
        both[0].keep(name, "digest", "mine", "sealed")
    else:
        both[0].renew(name, "digest", "mine")
    await both[0].claim("another", "", "")
    both[1].keep(name, "digest", "yours", "theirs")
    await both[1].claim("another", "", "")

    verdict = await both[1].claim(name, "digest", "yours")
    assert verdict == ((State.DONE, "sealed") if is_done else (State.RUNNING, ""))


@pytest.fixture
def stored(redis_server, name):
    """What Redis says of the key at this moment: its state, and for how many seconds."""
    with contextlib.closing(redis.Redis.from_url(redis_server.url(7))) as connection:
        own = f"courier:idempotency:{name}"
        yield lambda: (connection.hget(own, "s"), connection.ttl(own))


async def test_what_was_kept_without_an_answer_before_an_upgrade_is_done(both, name, redis_server):
    with contextlib.closing(redis.Redis.from_url(redis_server.url(7))) as connection:
        kept = {"d": "digest", "t": "mine", "s": "done"}
        connection.hset(f"courier:idempotency:{name}", mapping=kept)

    assert await both[0].claim(name, "digest", "yours") == (State.DONE, "")


A_DAY = pytest.approx(24 * 60 * 60, abs=600)


async def test_redis_forgets_a_key_after_a_day_whatever_became_of_it(both, name, stored, forgetful):
    seen = []
    for tell in (both[0].renew, both[0].keep):
        await both[0].claim(name, "digest", "mine")
        seen.append(stored())
        for _ in range(2):
            tell(name, "digest", "mine", *(["sealed"] if tell == both[0].keep else []))
            await both[0].claim("another", "", "")
            seen.append(stored())
            forgetful()

    running, done = (b"running", A_DAY), (b"done", A_DAY)
    assert seen == [running, running, running, running, done, done]


async def test_what_is_told_last_is_told_before_the_way_to_redis_is_closed(
    redis_server, name, stored
):
    one = RedisClaims(redis_server.url(7))
    await warmed(one)
    await one.claim(name, "digest", "mine")
    one.keep(name, "digest", "mine", "sealed")

    await one.close()

    assert stored() == (b"done", A_DAY)


async def test_nobody_takes_again_what_another_has_by_now(both, name, forgetful):
    await both[0].claim(name, "digest", "mine")
    forgetful()
    await both[1].claim(name, "digest", "yours")
    both[0].renew(name, "digest", "mine")
    both[0].keep(name, "digest", "mine", "sealed")
    await both[0].claim("another", "", "")

    assert (await both[1].claim(name, "digest", "yours")).state is State.RUNNING


async def test_a_claim_that_nobody_waited_for_is_let_go(both, name, frozen, redis_server):
    frozen()
    claiming = asyncio.ensure_future(both[0].claim(name, "digest", "mine"))
    await asyncio.sleep(0.05)
    claiming.cancel()
    os.kill(redis_server._process.pid, signal.SIGCONT)
    await asyncio.sleep(0.2)

    assert (await both[1].claim(name, "digest", "yours")).state is State.NEW


async def test_a_claim_without_an_answer_is_let_go(both, name, frozen, redis_server):
    frozen()
    with pytest.raises(IdempotencyUnavailable):
        await both[0].claim(name, "digest", "mine")
    os.kill(redis_server._process.pid, signal.SIGCONT)
    await asyncio.sleep(0.2)
    await both[0].claim("another", "", "")

    assert (await both[1].claim(name, "digest", "yours")).state is State.NEW


@pytest.fixture
async def broken(fault_proxy, redis_server):
    """A way to Redis on which a certain word ends each connection, and the proxy on it."""
    proxy = fault_proxy(redis_server.port)
    claims = RedisClaims(f"redis://127.0.0.1:{proxy.port}/7")
    await claims.claim("warm", "", "")
    proxy.cut_at(FATAL.encode())
    yield claims, proxy
    await claims.close()


async def test_what_gets_lost_again_and_again_is_told_three_times(broken, name):
    claims, proxy = broken
    await claims.claim(name, "digest", "mine")
    claims.keep(name, "digest", "mine", FATAL)
    async with asyncio.timeout(WITHIN_S):
        while proxy.cuts < MOST_SENDS:
            await asyncio.sleep(0.01)
        # What waits to be told leaves first, as soon as Redis can be asked again.
        while not await is_answered(claims):
            await asyncio.sleep(0.05)

    assert proxy.cuts == MOST_SENDS


async def is_answered(claims):
    with contextlib.suppress(IdempotencyUnavailable):
        return bool(await claims.claim("another", "", ""))


class Silent:
    """A line to Redis on which nothing goes out by itself."""

    def __init__(self):
        self.asked = []
        self.told = []
        self.call, self.post = self.asked.append, self.told.append


@pytest.fixture
async def silent():
    """Somebody who claims a key: the task, and the line that it waits at."""
    one = RedisClaims("redis://127.0.0.1:1/0")
    one._line = line = Silent()
    claiming = asyncio.ensure_future(one.claim("name", "digest", "mine"))
    await asyncio.sleep(0)
    yield claiming, line
    claiming.cancel()


@pytest.mark.parametrize(("sent", "let_go"), [(0, 0), (1, 1)])
async def test_a_claim_that_may_have_arrived_is_let_go_when_its_answer_is_lost(
    silent, sent, let_go
):
    claiming, line = silent
    line.asked[0].sent = sent
    line.asked[0].fail()

    with pytest.raises(IdempotencyUnavailable):
        await claiming
    assert len(line.told) == let_go


async def test_a_claim_is_let_go_whose_answer_came_as_its_client_left(silent):
    claiming, line = silent
    line.asked[0].succeed([b"new", b""])
    claiming.cancel()

    with pytest.raises(asyncio.CancelledError):
        await claiming
    assert len(line.told) == 1


async def test_a_claim_is_let_go_once_whose_answer_comes_after_its_client_has_left(silent):
    claiming, line = silent
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    line.asked[0].succeed([b"new", b""])

    assert len(line.told) == 1


async def test_one_process_knows_what_became_of_a_key():
    local, told = LocalClaims(), []
    for digest in ("first", "first", "other"):
        told.append((await local.claim("name", digest, "mine")).state)
    local.keep("name", "first", "mine", "")
    for digest in ("first", "other"):
        told.append((await local.claim("name", digest, "mine")).state)

    assert told == [State.NEW, State.RUNNING, State.OTHER, State.DONE, State.OTHER]


async def test_one_process_remembers_so_many_keys_and_forgets_the_oldest(monkeypatch):
    monkeypatch.setattr(claims, "MOST_CLAIMS", 2)
    local = LocalClaims()
    for name in ("first", "second", "third"):
        await local.claim(name, "digest", "mine")
        local.keep(name, "digest", "mine", "")

    states = [(await local.claim(name, "digest", "yours")).state for name in ("first", "third")]

    assert states == [State.NEW, State.DONE]


async def test_without_redis_nobody_knows(name):
    away = RedisClaims(f"redis://127.0.0.1:{free_port()}/0")

    with pytest.raises(IdempotencyUnavailable):
        await away.claim(name, "digest", "mine")
    await away.close()
