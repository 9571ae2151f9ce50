"""One request for many vectors, in as many upstream calls as it takes."""

import base64
import json
import struct

import pytest

from gateway import attempt, batches, errors
from gateway.load import load
from registry import snapshot
from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import CUT, STALL, Answer, Pause, error_body
from tests.gateway.conftest import in_thread, until
from tests.gateway.test_attempts import attempts_of
from usage.models import UsageRecord

PRICE = 1000
#: Of each input, by the made-up upstream below.
TOKENS = 7


def vectors_for(request, *, tokens=TOKENS, more=()):
    """An answer whose vectors tell which input each belongs to."""
    given = request["input"]
    data = [
        {"object": "embedding", "index": place, "embedding": [float(text), 0.5]}
        for place, text in enumerate(given)
    ]
    usage = {"prompt_tokens": tokens * len(given), "total_tokens": tokens * len(given)}
    body = {"object": "list", "data": [*data, *more], "model": "embedder", "usage": usage}
    return Answer((json.dumps(body).encode(),))


@pytest.fixture
async def embed(courier, key, alpha, upstream):
    """Ask for vectors of so many inputs, from a route that takes two in one call."""

    def rows():
        model = factories.make_model("many", batch_limit=2, max_attempts=2, priced=False)
        factories.make_route(model, alpha, upstream_model="embedder")
        factories.make_price(model, input="1", output="0")

    await courier.make(rows)
    upstream.default = vectors_for

    async def ask(inputs=5, **body):
        body = {"model": "many", "input": [str(n) for n in range(inputs)], **body}
        return await courier.post("/v1/embeddings", body, key=key)

    return ask


def asked(upstream):
    return sorted(request["input"] for request in upstream.requests)


async def test_many_inputs_become_several_calls(embed, upstream):
    assert (await embed(5)).status == 200
    assert asked(upstream) == [["0", "1"], ["2", "3"], ["4"]]


async def test_the_answer_is_one_in_the_order_of_the_inputs(embed):
    answer = (await embed(5)).json

    assert [item["embedding"][0] for item in answer["data"]] == [0, 1, 2, 3, 4]
    assert [item["index"] for item in answer["data"]] == [0, 1, 2, 3, 4]
    assert (answer["object"], answer["model"]) == ("list", "embedder")


async def test_usage_is_the_sum_of_all_calls(embed, courier):
    reply = await embed(5)

    record = await courier.record(reply.request_id)
    assert reply.json["usage"] == {"prompt_tokens": 5 * TOKENS, "total_tokens": 5 * TOKENS}
    assert (record.input_tokens, record.usage_source) == (5 * TOKENS, "provider")
    assert record.cost_nano == 5 * TOKENS * PRICE


async def test_all_calls_are_one_attempt(embed, courier):
    reply = await embed(5)

    record = await courier.record(reply.request_id)
    assert (reply.headers["x-courier-attempts"], record.attempts) == ("1", 1)
    assert len(await attempts_of(record)) == 1


async def test_few_inputs_are_one_call_with_the_clients_own_bytes(courier, key, embed, upstream):
    raw = b'{"input": ["1",  "2"], "model":"many"}'

    await courier.request("POST", "/v1/embeddings", key=key, content=raw)

    assert upstream.requests[0].body == raw.replace(b'"many"', b'"embedder"')


@pytest.mark.parametrize("given", [[1, 2, 3, 4, 5], "one text"])
async def test_one_input_is_never_split(embed, upstream, given):
    upstream.default = lambda request: Answer((b'{"data": []}',))

    await embed(input=given)

    assert asked(upstream) == [given]


async def test_lists_of_tokens_are_split_too(embed, upstream):
    upstream.default = lambda request: Answer(
        (json.dumps({"data": [{"embedding": [1]} for _ in request["input"]]}).encode(),)
    )

    reply = await embed(input=[[1], [2], [3]])

    assert (reply.status, asked(upstream)) == (200, [[[1], [2]], [[3]]])


async def test_base64_is_made_of_every_part(embed):
    data = (await embed(3, encoding_format="base64")).json["data"]

    packed = [base64.b64decode(item["embedding"]) for item in data]
    assert [struct.unpack("<2f", vector)[0] for vector in packed] == [0, 1, 2]


async def test_a_part_that_comes_out_of_order_is_put_right(embed, upstream):
    def backwards(request):
        answer = json.loads(vectors_for(request).parts[0])
        answer["data"].reverse()
        return Answer((json.dumps(answer).encode(),))

    upstream.default = backwards

    data = (await embed(4)).json["data"]

    assert [item["embedding"][0] for item in data] == [0, 1, 2, 3]


async def test_only_a_few_calls_are_under_way_at_the_same_time(embed, upstream):
    busy = []

    def slowly(request):
        busy.append(upstream.busy_connections)
        return Answer(vectors_for(request).parts, before=(Pause(0.05),))

    upstream.default = slowly

    assert (await embed(20)).status == 200
    assert (len(busy), max(busy)) == (10, batches.MOST_AT_ONCE)


async def test_a_failed_part_fails_the_attempt_and_another_is_made(embed, upstream):
    upstream.will_answer(error_body(), status=503)

    reply = await embed(5)

    assert (reply.status, reply.headers["x-courier-attempts"]) == (200, "2")


async def test_what_was_paid_before_a_part_failed_is_in_the_ledger(embed, upstream, courier):
    def second_fails(request):
        if request["input"] == ["2", "3"]:
            return Answer((error_body(),), status=503, before=(Pause(0.1),))
        return vectors_for(request)

    upstream.default = second_fails

    reply = await embed(5)

    record = await courier.record(reply.request_id)
    attempts = await attempts_of(record)
    assert reply.status == 503
    assert [attempt.cost_nano for attempt in attempts] == [3 * TOKENS * PRICE] * 2
    assert {attempt.usage_source for attempt in attempts} == {"provider"}


async def test_a_part_that_broke_off_is_paid_for_by_estimate(embed, upstream, courier):
    def second_breaks(request):
        if request["input"] == ["2", "3"]:
            return Answer((b'{"data":', Pause(0.1), CUT))
        return vectors_for(request)

    upstream.default = second_breaks

    record = await courier.record((await embed(5)).request_id)

    first = (await attempts_of(record))[0]
    assert first.input_tokens > 3 * TOKENS
    assert first.usage_source == "estimated"


async def test_the_others_are_called_off_when_one_fails(embed, upstream):
    def one_stalls(request):
        if request["input"] == ["0", "1"]:
            return Answer(before=(STALL,))
        return Answer((error_body(),), status=400)

    upstream.default = one_stalls

    assert (await embed(5)).status == 400
    await until(lambda: not upstream.busy_connections)


async def test_a_refusal_of_one_part_is_told_in_the_providers_words(embed, upstream):
    def refuses(request):
        if request["input"] == ["4"]:
            return Answer((error_body("Too long.", code="too_long"),), status=400)
        return vectors_for(request)

    upstream.default = refuses

    reply = await embed(5)

    assert (reply.status, reply.code, reply.headers["x-courier-attempts"]) == (400, "too_long", "1")


@pytest.mark.parametrize("more", [[{"index": 9, "embedding": [9.0]}], []])
async def test_an_answer_with_too_many_or_too_few_vectors_is_none(embed, upstream, more):
    def wrong(request):
        answer = json.loads(vectors_for(request, more=more).parts[0])
        if not more:
            answer["data"].pop()
        return Answer((json.dumps(answer).encode(),))

    upstream.default = wrong

    reply = await embed(5)

    assert (reply.status, reply.code) == (502, "upstream_bad_response")


async def test_calls_without_usage_are_counted_together(embed, upstream, courier):
    def silent(request):
        answer = json.loads(vectors_for(request).parts[0])
        del answer["usage"]
        return Answer((json.dumps(answer).encode(),))

    upstream.default = silent

    reply = await embed(5)

    record = await courier.record(reply.request_id)
    assert (record.usage_source, record.input_tokens > 0) == ("estimated", True)
    assert "usage" not in reply.json


async def test_more_calls_than_one_request_may_make_are_refused(embed, monkeypatch, upstream):
    monkeypatch.setattr(batches, "MOST_CALLS", 2)

    reply = await embed(5)

    assert (reply.status, upstream.requests) == (400, [])
    assert "4 at most" in reply.error["message"]


async def test_parts_may_not_be_larger_together_than_an_answer_may_be(embed, settings):
    settings.COURIER_MAX_ANSWER = 300

    assert (await embed(5)).code == "upstream_bad_response"


async def test_a_split_request_has_an_end(embed, upstream, courier, alpha):
    def rows():
        alpha.total_timeout_s = 1
        alpha.save()

    await courier.make(rows)
    upstream.default = lambda request: Answer(vectors_for(request).parts, before=(Pause(0.6),))

    assert (await embed(20)).code == "upstream_timeout"


async def test_a_client_that_leaves_a_split_request_is_recorded(courier, key, embed, upstream):
    upstream.default = lambda request: Answer(before=(STALL,))
    given = {"model": "many", "input": ["1", "2", "3"]}
    async with Call(courier, key=key.secret, path="/v1/embeddings", **given):
        await until(lambda: upstream.busy_connections == 2)

    await until(lambda: not upstream.busy_connections)
    record = await courier.last_record()
    assert (record.outcome, record.usage_source) == ("client_disconnected", "estimated")
    assert await in_thread(UsageRecord.objects.count) == 1


async def test_r01_r10_a_request_that_is_ended_as_a_part_fails_is_not_asked_again(
    courier, embed, upstream, monkeypatch
):
    ask = attempt.whole_answer

    async def ask_and_end(*asked):
        """The part fails; and in this moment the task that serves the request is cancelled."""
        try:
            return await ask(*asked)
        except errors.UpstreamError:
            (serving,) = courier.application._front_door.open
            serving.cancel()
            raise

    monkeypatch.setattr(attempt, "whole_answer", ask_and_end)
    upstream.will_answer(error_body(), status=503)

    reply = await embed(5)

    assert (reply.status, reply.code) == (503, "shutting_down")
    await until(lambda: not upstream.busy_connections)
    record = await courier.last_record()
    assert (record.outcome, record.attempts) == ("shutting_down", 1)
    assert [load.in_flight(each) for each in snapshot.current().model("many").targets] == [0]


async def test_the_routes_own_limit_goes_before_the_models(courier, embed, upstream, alpha):
    def rows():
        route = alpha.routes.get(model__name="many")
        route.batch_limit = 4
        route.save()

    await courier.make(rows)

    await embed(5)

    assert [len(inputs) for inputs in asked(upstream)] == [4, 1]


async def test_the_attempt_tells_how_many_calls_it_was(embed, courier):
    reply = await embed(5)

    (attempt,) = await attempts_of(await courier.record(reply.request_id))
    assert attempt.calls == 3


@pytest.fixture
def limit_the_key(courier, alpha):
    async def limit(**terms):
        def rows():
            alpha.keys.all().delete()
            factories.make_upstream_key(alpha, **terms)

        await courier.make(rows)

    return limit


async def test_each_call_counts_where_the_upstream_key_has_a_limit_of_requests(
    embed, limit_the_key, upstream
):
    await limit_the_key(requests_per_minute=5)

    replies = [await embed(6), await embed(6)]

    assert [each.status for each in replies] == [200, 429]
    assert len(upstream.requests) == 3


async def test_more_calls_than_an_upstream_key_may_make_in_a_minute_are_not_to_be_sent_again(
    embed, limit_the_key, upstream
):
    await limit_the_key(requests_per_minute=2)

    reply = await embed(6)

    assert (reply.status, reply.headers["x-should-retry"]) == (429, "false")
    assert not upstream.requests


async def test_calls_go_one_by_one_with_a_key_that_may_do_only_so_much_at_once(
    embed, limit_the_key, upstream
):
    await limit_the_key(concurrency=1)
    busy = []

    def answer(request):
        busy.append(upstream.busy_connections)
        return Answer(vectors_for(request).parts, before=(Pause(0.05),))

    upstream.default = answer

    assert (await embed(6)).status == 200
    assert (len(busy), max(busy)) == (3, 1)
