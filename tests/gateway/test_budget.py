"""Budgets as a client meets them: held before the call, extended under way, settled after."""

import asyncio
import json

import pytest

from tests import factories
from tests.fakes.upstream import DONE, OPENING, STALL, STOP, chunk, completion, usage_of
from tests.gateway.conftest import in_thread
from usage.models import UsageRecord

#: Of the model `tiny`, in nano-dollars per token.
INPUT, OUTPUT = 150, 600


@pytest.fixture
def budget(courier, key):
    async def make(dollars, **fields):
        await courier.make(lambda: factories.make_budget(key=key, amount=dollars, **fields))

    return make


async def test_a_request_that_fits_is_served_and_charged(chat, budget, courier):
    await budget("1")

    reply = await chat(max_tokens=100)

    assert reply.status == 200
    assert (await courier.record(reply.request_id)).cost_nano == 7 * INPUT + 3 * OUTPUT


async def test_an_exhausted_budget_is_told_as_openai_does(chat, budget, upstream):
    await budget("0.000001")

    reply = await chat(max_tokens=100)

    assert (reply.status, reply.code) == (429, "insufficient_quota")
    assert reply.error["type"] == "insufficient_quota"
    assert reply.headers["x-should-retry"] == "false"
    assert "budget" in reply.error["message"]
    assert not upstream.requests


async def test_a_budget_of_nothing_blocks_every_priced_call(chat, budget, upstream):
    await budget("0")

    assert (await chat(max_tokens=1)).code == "insufficient_quota"
    assert not upstream.requests


async def test_a_free_model_is_served_even_then(chat, budget, courier, alpha):
    await budget("0")
    await courier.make(lambda: factories.make_model("gratis", alpha))

    assert (await chat(model="gratis")).status == 200


async def test_what_was_held_and_not_used_is_free_again(chat, budget):
    # Each holds about 62,000 nano-dollars and uses 2,850.
    await budget("0.0001")

    statuses = [(await chat(max_tokens=100)).status for _ in range(5)]

    assert statuses == [200] * 5


async def test_what_was_spent_adds_up_until_no_more_fits(chat, budget):
    # Each holds 6,150 nano-dollars at first, and is charged 2,850.
    await budget("0.00001")

    statuses = [(await chat(max_tokens=1)).status for _ in range(4)]

    assert statuses == [200, 200, 429, 429]


async def test_a_soft_budget_refuses_nothing(chat, budget):
    await budget("0", hard=False)

    assert (await chat()).status == 200


async def test_a_failed_request_gives_all_back(chat, budget, upstream):
    await budget("0.0001")
    for _ in range(5):
        upstream.will_answer(b"{}", status=400)

    statuses = [(await chat(max_tokens=100)).status for _ in range(5)]

    assert statuses == [400] * 5


async def test_a_request_waits_for_others_only_where_their_holds_are_in_the_way(
    chat, budget, upstream
):
    await budget("0.0001")
    upstream.will_answer(OPENING, STALL)
    first = asyncio.ensure_future(chat(stream=True, max_tokens=100))
    while not upstream.requests:
        await asyncio.sleep(0.01)

    reply = await chat(max_tokens=100)

    assert (reply.status, reply.code) == (429, "budget_held")
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.headers.get("x-should-retry") != "false"
    first.cancel()


def long_stream(words):
    return [OPENING, *(chunk("word " * 100) for _ in range(words // 100)), STOP, DONE]


async def test_a_long_stream_without_a_bound_is_extended_step_by_step(
    chat, budget, upstream, courier
):
    await budget("1")
    upstream.will_answer(*long_stream(12_000))

    reply = await chat(stream=True)

    assert reply.data[-1] == b"[DONE]"
    assert (await courier.record(reply.request_id)).outcome == "ok"


async def test_a_stream_ends_cleanly_where_the_budget_does(chat, budget, upstream, courier):
    # The first hold fits and no second.
    await budget("0.0026")
    upstream.will_answer(*long_stream(40_000), usage_of() and b"", STALL)

    reply = await chat(stream=True)

    assert reply.data[-1] == b"[DONE]"
    last = json.loads(reply.data[-2])
    assert last["choices"][0]["finish_reason"] == "budget_exceeded"
    assert last["id"] == json.loads(reply.data[0])["id"]
    record = await courier.record(reply.request_id)
    assert (record.outcome, record.end_reason) == ("budget_exceeded", "budget")
    assert record.usage_source == "estimated"
    # Not more than a step beyond the budget, however much came at once.
    assert 0 < record.cost_nano <= 2_600_000 + 1024 * OUTPUT


async def test_a_burst_is_covered_before_more_is_waited_for(chat, budget, upstream):
    # The first hold and one step fit, and the burst is much more than those.
    await budget("0.0035")
    upstream.will_answer(OPENING, chunk("word " * 40_000), STALL)

    reply = await chat(stream=True)

    assert json.loads(reply.data[-2])["choices"][0]["finish_reason"] == "budget_exceeded"


async def test_no_more_is_passed_on_of_the_first_burst_than_the_budget_covers(
    chat, budget, upstream, courier
):
    await budget("0.0026")
    upstream.will_answer(b"".join(long_stream(8_000)[:-2]), STALL)

    reply = await chat(stream=True)

    record = await courier.record(reply.request_id)
    assert record.outcome == "budget_exceeded"
    assert record.cost_nano <= 2_600_000 + 1024 * OUTPUT


async def test_such_a_stream_tells_its_usage_to_who_asked(chat, budget, upstream):
    await budget("0.0026")
    upstream.will_answer(*long_stream(40_000))

    reply = await chat(stream=True, stream_options={"include_usage": True})

    usage = json.loads(reply.data[-2])
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] > 0
    assert json.loads(reply.data[-3])["choices"][0]["finish_reason"] == "budget_exceeded"


async def test_a_model_without_a_price_is_refused_by_default(chat, courier, alpha, upstream):
    await courier.make(lambda: factories.make_model("unpriced", alpha, priced=False))

    reply = await chat(model="unpriced")

    assert (reply.status, reply.code) == (400, "model_not_priced")
    assert reply.headers["x-should-retry"] == "false"
    assert not upstream.requests


async def test_a_route_without_a_price_is_passed_over(chat, courier, alpha, upstream):
    def rows():
        model = factories.make_model("half", priced=False)
        factories.make_route(model, alpha, upstream_model="unknown", priority=0)
        known = factories.make_route(model, alpha, upstream_model="known", priority=1)
        factories.make_price(model, route=known)

    await courier.make(rows)

    assert (await chat(model="half")).status == 200
    assert [request["model"] for request in upstream.requests] == ["known"]


async def test_the_sum_of_the_records_never_exceeds_the_budget(chat, budget, upstream):
    await budget("0.0001")
    upstream.always(completion(usage=usage_of(7, 30)))

    replies = await asyncio.gather(*(chat(max_tokens=30) for _ in range(40)))

    served = [reply for reply in replies if reply.status == 200]
    assert {reply.status for reply in replies} == {200, 429}
    while await in_thread(UsageRecord.objects.count) < len(served):
        await asyncio.sleep(0.02)
    totals = await in_thread(UsageRecord.objects.all().totals)
    assert 0 < totals["cost_nano"] <= 100_000
