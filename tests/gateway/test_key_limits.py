"""Limits and the budget of an upstream key: a refusal is no failure, and the next key is tried."""

import asyncio
import json

import pytest

from gateway import key_limits
from gateway.breaker import FAILURES_TO_OPEN, breakers
from gateway.errors import UpstreamUnavailable
from registry import snapshot
from registry.models import UpstreamKey
from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import DONE, HELLO, OPENING, STALL, STOP, Gate, chunk, completion
from tests.gateway.conftest import WITHIN_S, in_thread, known_budgets, until
from usage.models import UsageAttempt

FIRST, SECOND = "sk-first-of-a-test", "sk-second-of-a-test"


@pytest.fixture
def keys(courier, alpha):
    """Give the provider two keys. The second, with weight 0, is only tried after the first."""

    async def make(other=None, **terms):
        def rows():
            UpstreamKey.objects.filter(provider=alpha).delete()
            factories.make_upstream_key(alpha, FIRST, "first", **terms)
            if other is not None:
                factories.make_upstream_key(alpha, SECOND, "second", weight=0, **other)

        await courier.make(rows)
        if "budget" in terms:
            await known_budgets()

    return make


def used(upstream):
    return [each.headers["authorization"].removeprefix("Bearer ") for each in upstream.requests]


async def test_a_key_without_room_is_passed_over_at_once(chat, keys, upstream):
    await keys({}, requests_per_minute=1)

    replies = [await chat() for _ in range(3)]

    assert [each.status for each in replies] == [200, 200, 200]
    assert used(upstream) == [FIRST, SECOND, SECOND]
    assert {each.headers["x-courier-attempts"] for each in replies} == {"1"}


async def test_a_key_without_room_does_not_keep_others_from_trying_its_target_out(
    chat, keys, upstream
):
    await keys({}, requests_per_minute=1)
    await chat()
    targets = snapshot.current().model("tiny").targets
    (first,) = [target for target in targets if target.api_key == FIRST]
    for _ in range(FAILURES_TO_OPEN):
        breakers.failed(first, UpstreamUnavailable("It failed."), breakers.begin(first))
    breakers.try_again(first, since_s=-1)

    await chat()

    assert used(upstream) == [FIRST, SECOND]
    assert breakers.out(first) is None


async def test_if_no_key_has_room_the_client_is_told_when_one_will(chat, keys, upstream):
    await keys({"requests_per_minute": 1}, requests_per_minute=1)
    await asyncio.gather(chat(), chat())

    reply = await chat()

    assert (reply.status, reply.code) == (429, "upstream_rate_limited")
    assert 1 <= int(reply.headers["retry-after"]) <= 61
    assert len(upstream.requests) == 2


async def test_a_refusal_for_a_limit_is_no_attempt(chat, keys, courier):
    await keys(requests_per_minute=1)
    await chat()

    reply = await chat()

    assert reply.headers["x-courier-attempts"] == "0"
    await courier.record(reply.request_id)
    assert await in_thread(UsageAttempt.objects.filter(request_id=reply.request_id).count) == 0


async def test_who_leaves_while_a_key_is_claimed_has_made_no_attempt(
    key, keys, courier, upstream, monkeypatch
):
    await keys(requests_per_minute=9)
    claiming = asyncio.Event()

    async def claim(*_):
        claiming.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(key_limits, "claim", claim)

    async with Call(courier, key=key.secret):
        await claiming.wait()

    record = await courier.last_record()
    assert (record.outcome, record.attempts) == ("client_disconnected", 0)
    assert upstream.requests == []


async def test_one_request_too_many_at_once_goes_to_the_other_key(chat, keys, upstream):
    await keys({}, concurrency=1)
    is_over = Gate()
    upstream.will_answer(completion(), after=is_over)

    slow = asyncio.ensure_future(chat())
    await until(lambda: upstream.requests)
    await chat()
    is_over.open()
    await slow
    await chat()

    assert used(upstream) == [FIRST, SECOND, FIRST]


@pytest.mark.parametrize("how", ["failed", "left"])
async def test_a_place_is_free_again_whatever_became_of_the_attempt(chat, keys, upstream, how):
    await keys(concurrency=1)
    if how == "failed":
        upstream.will_answer(b"{}", status=400)
        await chat()
    else:
        upstream.will_answer(OPENING, HELLO, STALL)
        leaving = asyncio.ensure_future(chat(stream=True))
        await until(lambda: upstream.busy_connections)
        leaving.cancel()

    async with asyncio.timeout(WITHIN_S):
        while (await chat()).status != 200:
            await asyncio.sleep(0.05)


async def test_a_place_is_free_again_when_another_key_has_answered(chat, keys, upstream):
    await keys({}, concurrency=1)
    upstream.will_answer(b"nonsense")

    for _ in range(2):
        await chat()

    assert used(upstream) == [FIRST, SECOND, FIRST]


async def test_tokens_that_were_not_used_are_given_back(chat, keys):
    await keys(tokens_per_minute=150)

    replies = [await chat(max_tokens=100) for _ in range(4)]

    assert [each.status for each in replies] == [200] * 4


async def test_a_request_larger_than_the_keys_tokens_goes_elsewhere(chat, keys, upstream):
    await keys({}, tokens_per_minute=50)

    await chat(max_tokens=100)

    assert used(upstream) == [SECOND]


async def test_a_request_larger_than_every_keys_tokens_is_not_to_be_sent_again(chat, keys):
    await keys(tokens_per_minute=50)

    reply = await chat(max_tokens=100)

    assert (reply.status, reply.headers["x-should-retry"]) == (429, "false")
    assert "retry-after" not in reply.headers


async def test_an_exhausted_budget_takes_the_key_out(chat, keys, upstream):
    await keys({}, budget="0.01")

    await chat(max_tokens=20_000)
    await chat(max_tokens=10)

    assert used(upstream) == [SECOND, FIRST]


async def test_a_budget_counts_what_the_provider_charges(chat, keys, courier, upstream):
    upstream.always(completion(usage={"prompt_tokens": 7, "completion_tokens": 15_000}))
    await keys({}, budget="0.01")
    first = await chat(max_tokens=16_000)
    await courier.record(first.request_id)

    await chat(max_tokens=3_000)

    assert used(upstream) == [FIRST, SECOND]


async def test_a_key_is_used_for_its_models_only(chat, keys, upstream):
    await keys({}, allowed_models=["other-*"])

    await chat()

    assert used(upstream) == [SECOND]


async def test_a_key_for_no_model_of_the_route_leaves_none(chat, keys):
    await keys(allowed_models=["other-*"])

    assert (await chat()).code == "no_available_target"


def long_stream(words):
    return [OPENING, *(chunk("word " * 100) for _ in range(words // 100)), STOP, DONE]


async def test_a_long_stream_holds_more_of_the_keys_budget_step_by_step(chat, keys, upstream):
    await keys(budget="1")
    upstream.will_answer(*long_stream(12_000))

    assert (await chat(stream=True)).data[-1] == b"[DONE]"


async def test_a_stream_without_a_bound_ends_where_the_keys_budget_does(
    chat, keys, courier, upstream
):
    await keys(budget="0.01")
    upstream.will_answer(*long_stream(24_000), STALL)

    reply = await chat(stream=True)

    last = json.loads(reply.data[-2])
    assert last["choices"][0]["finish_reason"] == "budget_exceeded"
    record = await courier.record(reply.request_id)
    assert record.outcome == "budget_exceeded"
    # Not more than a step beyond the budget, however much came at once.
    assert 0 < record.provider_cost_nano <= 10_000_000 + 1024 * 600
