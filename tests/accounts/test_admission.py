import asyncio
import gc

import pytest

from accounts import admission
from accounts.admission import admit
from accounts.errors import (
    LimitsUnavailable,
    RateLimited,
    RequestTooLargeForLimit,
    TokensLimited,
)
from accounts.local_limits import LocalStore
from accounts.redis_limits import RedisStore
from accounts.states import limit_states
from lib.ids import uuid7
from tests.accounts.conftest import a_limit, a_principal, rules_of, tokens
from tests.services import free_port

pytestmark = pytest.mark.usefixtures("use_store")


async def used(store, *limits):
    return list((await store.look(rules_of(*limits))).used)


async def refusal(principal, count=0):
    with pytest.raises(RateLimited) as caught:
        await admit(principal, uuid7(), "echo", tokens(count))
    return caught.value


@pytest.fixture
async def no_store(monkeypatch):
    monkeypatch.setattr(admission, "_store", None)


async def test_a_reservation_holds_the_estimate_until_it_is_settled(store):
    limit = a_limit("tokens", 100)
    reservation = await admit(a_principal(limit), uuid7(), "echo", tokens(60))
    assert await used(store, limit) == [60]
    reservation.settle(input_tokens=25)
    assert await used(store, limit) == [25]


async def test_only_the_first_settlement_counts(store):
    limit = a_limit("tokens", 100)
    reservation = await admit(a_principal(limit), uuid7(), "echo", tokens(60))
    reservation.settle(input_tokens=25)
    reservation.settle(input_tokens=99)
    assert await used(store, limit) == [25]


async def test_nobody_earns_tokens_by_settling(store):
    limit = a_limit("tokens", 100)
    await admit(a_principal(limit), uuid7(), "echo", tokens(40))
    reservation = await admit(a_principal(limit), uuid7(), "echo", tokens(60))
    reservation.settle(input_tokens=-500)
    assert await used(store, limit) == [40]


async def test_settling_ends_the_lease(store):
    limit = a_limit("concurrency", 1)
    reservation = await admit(a_principal(limit), uuid7(), "echo", tokens(0))
    assert (await refusal(a_principal(limit))).retry_after == 1
    reservation.settle(input_tokens=0)
    await admit(a_principal(limit), uuid7(), "echo", tokens(0))


async def test_headers_tell_the_state_of_the_limits():
    limits = (a_limit("requests", 60), a_limit("tokens", 1000, 3600))
    reservation = await admit(a_principal(*limits), uuid7(), "echo", tokens(10))
    assert reservation.headers == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1m1s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "990",
        "x-ratelimit-reset-tokens": "1h0m40s",
    }


async def test_headers_tell_the_tightest_limit_of_each_metric():
    limits = (a_limit("requests", 60), a_limit("requests", 5, scope="team:1"))
    reservation = await admit(a_principal(*limits), uuid7(), "echo", tokens(0))
    assert reservation.headers["x-ratelimit-limit-requests"] == "5"


async def test_concurrency_has_no_headers():
    reservation = await admit(a_principal(a_limit("concurrency")), uuid7(), "echo", tokens(0))
    assert reservation.headers == {}


async def test_without_limits_the_store_is_not_asked(no_store, settings):
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    reservation = await admit(a_principal(), uuid7(), "echo", tokens(10))
    reservation.settle(input_tokens=5)
    assert await limit_states(a_principal()) == []
    assert reservation.headers == {}
    assert admission._store is None


async def test_with_limits_and_without_redis_nobody_is_let_through(no_store, settings):
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(LimitsUnavailable) as caught:
        await admit(a_principal(a_limit()), uuid7(), "echo", tokens(10))
    assert (caught.value.status, caught.value.retry_after) == (503, 1)
    await admission.stop()


@pytest.mark.parametrize(
    ("scope", "words"),
    [("key:1", "this key"), ("team:1", "this key's team"), ("user:1", "this key's owner")],
)
async def test_a_refusal_names_the_limit_the_scope_and_when_to_come_back(scope, words, clock):
    principal = a_principal(a_limit("requests", 2, scope=scope))
    await admit(principal, uuid7(), "echo", tokens(0))
    await admit(principal, uuid7(), "echo", tokens(0))
    clock.pass_s(49)
    error = await refusal(principal)
    assert error.message == (
        f"Rate limit reached for {words}: 2 requests per minute. Try again in 12 s."
    )
    assert (error.status, error.type, error.code) == (429, "requests", "rate_limit_exceeded")
    assert 11 < error.retry_after <= 12


@pytest.mark.parametrize(
    ("limit", "rule"),
    [
        (a_limit("requests", 1, 1), "1 request per second"),
        (a_limit("requests", 1, 86400), "1 request per day"),
        (a_limit("requests", 1, 7), "1 request per 7 s"),
        (a_limit("concurrency", 1), "1 request at the same time"),
        (a_limit("tokens", 1, 3600), "1 token per hour"),
    ],
)
async def test_a_refusal_says_the_limit_in_words(limit, rule):
    await admit(a_principal(limit), uuid7(), "echo", tokens(1))
    assert f"this key: {rule}." in (await refusal(a_principal(limit), 1)).message


async def test_a_refusal_has_the_headers_with_nothing_left():
    principal = a_principal(a_limit("requests", 9), a_limit("tokens", 100))
    await admit(principal, uuid7(), "echo", tokens(60))
    error = await refusal(principal, 60)
    assert isinstance(error, TokensLimited)
    assert error.type == "tokens"
    assert error.headers["x-ratelimit-remaining-tokens"] == "0"
    assert error.headers["x-ratelimit-remaining-requests"] == "8"


async def test_a_request_larger_than_the_limit_is_told_so():
    principal = a_principal(a_limit("tokens", 100))
    with pytest.raises(RequestTooLargeForLimit) as caught:
        await admit(principal, uuid7(), "echo", tokens(101))
    assert caught.value.message == (
        "This request needs about 101 tokens, more than the limit for this key: "
        "100 tokens per minute. Make the prompt or max_tokens smaller."
    )
    assert (caught.value.should_retry, caught.value.retry_after) == (False, None)


async def test_a_request_as_large_as_the_limit_fits():
    await admit(a_principal(a_limit("tokens", 100)), uuid7(), "echo", tokens(100))


async def test_a_limit_of_nothing_admits_nothing():
    assert (await refusal(a_principal(a_limit("requests", 0)))).retry_after > 0


async def test_a_refused_request_holds_nothing(store):
    limits = (a_limit("tokens", 100), a_limit("concurrency", 5), a_limit("requests", 1))
    await admit(a_principal(*limits), uuid7(), "echo", tokens(10))
    await refusal(a_principal(*limits), 10)
    assert await used(store, *limits) == [10, 1, 1]


async def test_the_state_of_limits_can_be_asked(clock):
    principal = a_principal(a_limit("requests", 5), a_limit("concurrency", 2))
    await admit(principal, uuid7(), "echo", tokens(0))
    clock.pass_s(59)
    requests, concurrency = await limit_states(principal)
    assert (requests.metric, requests.window_s, requests.amount) == ("requests", 60, 5)
    assert requests.remaining == 4
    assert 1 < requests.reset_s < 2
    assert (concurrency.remaining, concurrency.reset_s) == (1, 0)


async def test_what_is_left_is_never_less_than_nothing():
    principal = a_principal(a_limit("tokens", 100))
    (await admit(principal, uuid7(), "echo", tokens(10))).settle(input_tokens=500)
    assert [state.remaining for state in await limit_states(principal)] == [0]


@pytest.fixture
def renewing_often(monkeypatch):
    monkeypatch.setattr(admission, "RENEW_EVERY_S", 0.01)


@pytest.fixture
async def started(use_store, renewing_often):
    await admission.start()
    yield use_store
    await admission.stop()


async def test_the_lease_of_an_open_request_is_renewed(started, clock):
    limit = a_limit("concurrency", 1)
    reservation = await admit(a_principal(limit), uuid7(), "echo", tokens(0))
    clock.pass_s(50)
    await asyncio.sleep(0.1)
    clock.pass_s(50)
    assert await used(started, limit) == [1]
    reservation.settle(input_tokens=0)


async def test_the_lease_of_a_settled_request_is_not_renewed(started):
    limit = a_limit("concurrency", 1)
    reservation = await admit(a_principal(limit), uuid7(), "echo", tokens(0))
    reservation.settle(input_tokens=0)
    await asyncio.sleep(0.1)
    assert await used(started, limit) == [0]


async def test_a_reservation_that_was_forgotten_is_not_renewed_for_ever(started, clock):
    limit = a_limit("concurrency", 1)
    await admit(a_principal(limit), uuid7(), "echo", tokens(0))
    gc.collect()
    clock.pass_s(50)
    await asyncio.sleep(0.1)
    clock.pass_s(10)
    assert await used(started, limit) == [0]


async def test_stopping_settles_and_starting_again_counts_anew(redis_url, settings, no_store):
    settings.REDIS_URL = redis_url
    limit = a_limit("tokens", 100)
    await admission.start()
    (await admit(a_principal(limit), uuid7(), "echo", tokens(80))).settle(input_tokens=7)
    await admission.stop()
    states = await limit_states(a_principal(limit))
    await admission.stop()
    assert [state.remaining for state in states] == [93]


@pytest.mark.parametrize(("url", "kind"), [("", LocalStore), ("redis://localhost/0", RedisStore)])
async def test_redis_counts_where_there_is_one(no_store, settings, url, kind):
    settings.REDIS_URL = url
    assert isinstance(admission.store(), kind)
