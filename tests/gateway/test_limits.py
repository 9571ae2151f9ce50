"""Limits as a client meets them."""

import pytest

from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import HELLO, OPENING, STALL
from tests.gateway.conftest import until


@pytest.fixture
def limited(courier, key):
    async def make(**limit):
        await courier.make(lambda: factories.make_limit(key=key, **limit))

    return make


@pytest.mark.parametrize("stream", [True, False])
async def test_every_answer_tells_what_is_left(chat, limited, stream):
    await limited(metric="requests", amount=5)
    await limited(metric="tokens", amount=1000)

    headers = (await chat(stream=stream, max_tokens=100)).headers

    assert headers["x-ratelimit-limit-requests"] == "5"
    assert headers["x-ratelimit-remaining-requests"] == "4"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert headers["x-ratelimit-limit-tokens"] == "1000"
    assert 0 < int(headers["x-ratelimit-remaining-tokens"]) < 900


async def test_a_refusal_of_the_upstreams_tells_what_is_left_too(chat, limited, upstream):
    await limited(metric="requests", amount=5)
    upstream.will_answer(b"{}", status=400)

    reply = await chat()

    assert (reply.status, reply.headers["x-ratelimit-remaining-requests"]) == (400, "4")


async def test_one_request_too_many_is_told_when_to_come_back(chat, limited, upstream):
    await limited(metric="requests", amount=1)
    await chat()

    reply = await chat()

    assert (reply.status, reply.code, reply.error["type"]) == (
        429,
        "rate_limit_exceeded",
        "requests",
    )
    assert 1 <= int(reply.headers["retry-after"]) <= 61
    assert reply.headers["x-ratelimit-remaining-requests"] == "0"
    assert len(upstream.requests) == 1


async def test_a_request_larger_than_a_limit_need_not_come_back(chat, limited):
    await limited(metric="tokens", amount=50)

    reply = await chat(max_tokens=100)

    assert (reply.status, reply.error["type"]) == (429, "tokens")
    assert reply.headers["x-should-retry"] == "false"


async def test_one_stream_too_many_at_once_is_refused_until_another_ends(
    chat, limited, courier, key, upstream
):
    await limited(metric="concurrency", amount=1)
    upstream.will_answer(OPENING, HELLO, STALL)
    call = Call(courier, key=key.secret, stream=True)
    async with call:
        await call.read_head()
        assert (await chat()).status == 429

    async def is_free():
        return (await chat()).status == 200

    await until(lambda: upstream.departures)
    for _ in range(100):
        if await is_free():
            break
    else:
        pytest.fail("The place was never given back.")


async def test_a_refused_request_leaves_no_record(chat, limited, courier):
    await limited(metric="requests", amount=1)
    answered = await chat()
    await chat()

    await courier.record(answered.request_id)
    assert (await courier.last_record()).pk == answered.request_id
