import asyncio
import itertools

import pytest

from accounts import principals
from accounts.errors import IdentityUnavailable, InvalidApiKey, KeyInUrl
from accounts.principals import Known, Principal
from gateway import auth
from gateway.auth import _secret_in, principal_of
from lib.errors import CourierError


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
        await principal_of([(b"authorization", b"Bearer abc")], query)


@pytest.mark.parametrize("query", [b"", b"alt=sse", b"monkey=abc", b"a=key=abc"])
async def test_other_queries_are_let_through(query):
    with pytest.raises(InvalidApiKey) as refused:
        await principal_of([], query)

    assert type(refused.value) is InvalidApiKey


#: Each step of authentication that may fail.
STEPS = [
    (auth, "authenticate_cached"),
    (auth, "authenticate"),
    (principals, "digest"),
    (principals, "is_wellformed"),
    (principals, "_read"),
    (principals, "_look_up"),
    (principals, "_read_and_let_go"),
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
                await principal_of(headers)
    assert await principal_of(headers)


def failing(step, fault):
    def broken(*_):
        raise fault("x")

    return property(broken) if step == "is_expired" else broken


async def test_s06_who_stops_asking_is_not_let_in(transactional_db, key, monkeypatch):
    async def never(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(principals, "_look_up", never)
    asking = asyncio.create_task(principal_of([(b"x-api-key", key.secret.encode())]))
    await asyncio.sleep(0.01)
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not issubclass(asyncio.CancelledError, CourierError)
