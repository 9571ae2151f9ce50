import asyncio
import itertools
import secrets
import time
import tracemalloc
from collections import Counter

import pytest

from accounts import lookups, principals
from accounts.errors import IdentityUnavailable, InvalidApiKey, KeyInUrl
from accounts.keys import digest, revoke_key
from accounts.lookups import Lookups
from accounts.principals import Known, Principal
from gateway import auth
from gateway.auth import _secret_in, principal_of
from gateway.errors import TooManyUnknownKeys
from gateway.strangers import EVERY_S, TRIES, Strangers
from lib.errors import CourierError
from tests import factories
from tests.faults.figures import figure
from tests.gateway.conftest import in_thread
from tests.soak import trials

LONGEST_FLOOD_S = 240


def scope_of(headers, query=b"", address="203.0.113.7"):
    return {"headers": headers, "query_string": query, "client": (address, 1)}


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer abc")],
        [(b"authorization", b"bearer abc")],
        [(b"authorization", b"BEARER   abc  ")],
        [(b"x-api-key", b"abc")],
        [(b"api-key", b" abc ")],
        [(b"x-api-key", b"other"), (b"authorization", b"Bearer abc")],
        [(b"authorization", b"Basic other"), (b"x-api-key", b"abc")],
        [(b"x-api-key", b"abc"), (b"api-key", b"other")],
        [(b"x-goog-api-key", b"abc")],
    ],
)
def test_the_secret_is_found(headers):
    assert _secret_in(headers) == "abc"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Bearer a b")],
        [(b"authorization", b"Basic abc")],
        [(b"authorization", b"abc")],
        [(b"authorization", b"Bearer \xc3\xa9")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"\xff")],
        [(b"cookie", b"authorization=abc")],
    ],
)
def test_without_a_usable_secret_nobody_comes_in(headers):
    with pytest.raises(InvalidApiKey):
        _secret_in(headers)


@pytest.mark.parametrize("query", [b"key=abc", b"alt=sse&key=abc", b"key="])
async def test_a_key_in_the_url_is_refused_even_beside_one_in_a_header(query):
    with pytest.raises(KeyInUrl, match="x-goog-api-key"):
        await principal_of(scope_of([(b"authorization", b"Bearer abc")], query))


@pytest.mark.parametrize("query", [b"", b"alt=sse", b"monkey=abc", b"a=key=abc"])
async def test_other_queries_are_let_through(query):
    with pytest.raises(InvalidApiKey) as refused:
        await principal_of(scope_of([], query))

    assert type(refused.value) is InvalidApiKey


#: Each step of authentication that may fail.
STEPS = [
    (auth, "authenticate_cached"),
    (auth, "authenticate"),
    (principals, "digest"),
    (principals, "is_wellformed"),
    (principals, "_read"),
    (principals, "_look_up"),
    (principals, "Allowances"),
    (Known, "get"),
    (Known, "is_unknown"),
    (Known, "learn"),
    (Principal, "is_expired"),
]
FAULTS = [RuntimeError, KeyError, OSError, TimeoutError, MemoryError, AttributeError, ValueError]


async def test_s06_whatever_fails_nobody_comes_in(transactional_db, key, monkeypatch):
    headers = [(b"x-api-key", key.secret.encode())]

    for (owner, step), fault in itertools.product(STEPS, FAULTS):
        with monkeypatch.context() as patch:
            patch.setattr(principals, "_known", Known())
            patch.setattr(owner, step, failing(step, fault))
            with pytest.raises(IdentityUnavailable):
                await principal_of(scope_of(headers))
    assert await principal_of(scope_of(headers))


def failing(step, fault):
    def broken(*_):
        raise fault("x")

    return property(broken) if step == "is_expired" else broken


async def test_s06_who_stops_asking_is_not_let_in(transactional_db, key, monkeypatch):
    async def never(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(Lookups, "find", never)
    asking = asyncio.create_task(principal_of(scope_of([(b"x-api-key", key.secret.encode())])))
    await asyncio.sleep(0.01)
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not issubclass(asyncio.CancelledError, CourierError)


@pytest.fixture
def queries(monkeypatch):
    """How many keys each query asked for."""
    asked = []
    read = principals._read

    def counted(digests):
        asked.append(len(digests))
        return read(digests)

    monkeypatch.setattr(principals, "_read", counted)
    return asked


@pytest.fixture
def fresh(monkeypatch):
    """Nobody is known, and nobody has tried anything."""
    monkeypatch.setattr(principals, "_known", Known())
    monkeypatch.setattr(auth, "strangers", Strangers())


def made_up():
    """A key of nobody's that could be somebody's."""
    return secrets.token_hex(20)


async def try_key(secret, address="203.0.113.7"):
    """How a key was answered: the error's class, or the principal's."""
    try:
        who = await principal_of(scope_of([(b"x-api-key", secret.encode())], address=address))
    except CourierError as error:
        return type(error)
    return type(who)


async def try_keys(count, addresses):
    given = [(made_up(), next(addresses)) for _ in range(count)]
    return Counter(await asyncio.gather(*(try_key(*each) for each in given)))


async def test_s09_an_address_may_try_so_many_keys_that_are_none(transactional_db, fresh):
    told = [await try_keys(count, itertools.repeat("203.0.113.7")) for count in (TRIES - 1, 1, 50)]

    assert told == [{InvalidApiKey: TRIES - 1}, {InvalidApiKey: 1}, {TooManyUnknownKeys: 50}]


async def test_s09_who_waits_may_try_again(transactional_db, fresh):
    await try_keys(2 * TRIES, itertools.repeat("203.0.113.7"))
    auth.strangers._used_until["203.0.113.7"] -= EVERY_S + 0.01

    assert await try_keys(1, itertools.repeat("203.0.113.7")) == {InvalidApiKey: 1}


async def test_s09_many_good_keys_at_once_after_a_restart_are_let_in(
    transactional_db, team, fresh, monkeypatch
):
    monkeypatch.setattr("gateway.strangers.TRIES", 2)
    good = [(await in_thread(factories.make_key, team)).secret for _ in range(5)]

    assert await asyncio.gather(*map(try_key, good)) == [Principal] * 5


async def test_s09_others_are_not_hurt_by_who_tries_keys(transactional_db, key, fresh):
    await try_keys(2 * TRIES, itertools.repeat("203.0.113.7"))

    assert await try_key(key.secret, "198.51.100.1") is Principal


async def test_s09_who_is_known_is_let_in_whatever_comes_from_the_same_address(
    transactional_db, key, fresh
):
    before = await try_key(key.secret)
    await try_keys(2 * TRIES, itertools.repeat("203.0.113.7"))

    assert (before, await try_key(key.secret)) == (Principal, Principal)


async def test_s09_after_a_restart_a_good_key_is_let_in_whatever_comes_from_the_same_address(
    transactional_db, key, fresh
):
    await in_thread(principals.reload_known)  # as every start does, before it serves anybody
    await try_keys(2 * TRIES, itertools.repeat("203.0.113.7"))

    assert await try_key(key.secret) is Principal


async def test_s09_a_key_that_was_revoked_is_a_try_again(transactional_db, key, fresh):
    await in_thread(principals.reload_known)
    await in_thread(revoke_key, key)
    await in_thread(principals.reload_known)
    await try_keys(2 * TRIES, itertools.repeat("203.0.113.7"))

    assert await try_key(key.secret) is TooManyUnknownKeys


async def test_s09_one_wrong_key_is_told_to_be_wrong_however_often_it_comes(
    transactional_db, fresh, queries
):
    wrong = made_up()
    told = Counter([await try_key(wrong) for _ in range(5 * TRIES)])

    assert told == {InvalidApiKey: 5 * TRIES}
    assert queries == [1]


async def test_s09_a_wrong_key_that_comes_many_times_at_once_is_one_try(
    transactional_db, key, fresh
):
    wrong = made_up()
    told = await asyncio.gather(*(try_key(wrong) for _ in range(3 * TRIES)))

    assert set(told) == {InvalidApiKey}
    assert await try_key(key.secret) is Principal


async def test_s09_keys_that_cannot_be_keys_cost_no_try(transactional_db, fresh, queries):
    told = Counter([await try_key(f"sk-{each}") for each in range(2 * TRIES)])

    assert told == {InvalidApiKey: 2 * TRIES}
    assert queries == []


async def test_s09_a_key_of_somebody_is_found_among_made_up_ones(
    transactional_db, key, fresh, queries
):
    addresses = (f"198.51.{each >> 8}.{each & 255}" for each in itertools.count())
    flood = asyncio.create_task(try_keys(390, addresses))
    await asyncio.sleep(0)

    assert await try_key(key.secret) is Principal
    await flood
    assert len(queries) <= lookups.AT_ONCE


@pytest.mark.timeout(2 * LONGEST_FLOOD_S)
async def test_s09_a_flood_of_made_up_keys_costs_little_memory_and_few_queries(
    transactional_db, fresh, queries
):
    """Called without sockets, and on a slow machine with fewer keys: as many as the time allows."""
    most, count, at_once = trials(4_000, 1_000_000), 0, trials(1000, 4000)
    addresses = (f"198.{e >> 16 & 63}.{e >> 8 & 255}.{e & 255}" for e in itertools.count())
    await try_keys(1000, addresses)
    tracemalloc.start()
    queries.clear()
    began = time.monotonic()
    while count < most and time.monotonic() < began + LONGEST_FLOOD_S:
        await try_keys(at_once, addresses)
        count += at_once
    took = time.monotonic() - began
    grown = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()

    seen = f"{count:,} made-up keys: {grown:.1f} MB, {len(queries)} queries in {took:.0f} s"
    figure("S09", seen, "≤ 8 MB, 10 at once, then ≤ 10/s")
    assert grown < 8
    assert len(queries) <= lookups.AT_ONCE + took / lookups.EVERY_S + 1


async def test_s07_keys_that_begin_or_end_alike_are_different_keys(fresh, monkeypatch):
    known = principals._known
    alike = [made_up() for _ in range(trials(300, 10_000))]
    for secret in alike:
        known.learn(digest(secret), object(), known.generation)
    near = [
        other
        for secret in alike
        for other in (secret[:-1] + "x", "x" + secret[1:], secret[:20] * 2, secret + "0")
    ]

    assert not [other for other in near if known.get(digest(other)) is not None]
