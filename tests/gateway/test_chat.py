"""Chat completions that go well."""

from dataclasses import fields

import pytest

from accounts.models import Team
from lib import tokenizer
from lib.tokens import TokenUsage
from registry.models import Price, Provider, RecordedRevision, Revision
from registry.pricing import charged_nano, price_of
from registry.revisions import made_by
from tests import factories
from tests.fakes.upstream import (
    DONE,
    HELLO,
    OPENING,
    STOP,
    STREAM,
    USAGE,
    chunk,
    completion,
    frame,
    usage_chunk,
    usage_of,
)
from tests.gateway.conftest import HELLO as SAY_HELLO
from usage import rerating

UNASKED = b"".join(part for part in STREAM if part != USAGE)


def alpha():
    return Provider.objects.get(name="alpha")


async def test_a_whole_answer_reaches_the_client_unchanged(chat, upstream):
    answer = completion("Hi.", tomorrow={"x": 1.50}).replace(b":", b" :\n")
    upstream.will_answer(answer)

    reply = await chat()

    assert (reply.status, reply.content) == (200, answer)
    assert reply.headers["content-type"] == "application/json"


async def test_a_stream_reaches_the_client_without_the_usage_it_did_not_ask_for(chat, upstream):
    upstream.will_answer(*STREAM)

    reply = await chat(stream=True)

    assert (reply.status, reply.content) == (200, UNASKED)
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["x-accel-buffering"] == "no"


async def test_a_stream_reaches_the_client_with_the_usage_it_asked_for(chat, upstream):
    upstream.will_answer(*STREAM)

    reply = await chat(stream=True, stream_options={"include_usage": True})

    assert reply.content == b"".join(STREAM)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_stream_is_the_same_however_the_network_cuts_it(chat, upstream, size):
    stream = b"".join(STREAM)
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
    upstream.will_answer(*pieces, headers={"content-type": "text/event-stream"})

    assert (await chat(stream=True)).content == UNASKED


async def test_a_stream_with_crlf_is_passed_on_as_it_is(chat, upstream):
    stream = b"".join(STREAM).replace(b"\n", b"\r\n")
    upstream.will_answer(stream)

    assert (await chat(stream=True)).content == UNASKED.replace(b"\n", b"\r\n")


async def test_an_end_marker_without_a_blank_line_ends_the_stream_too(chat, upstream):
    upstream.will_answer(OPENING, HELLO, STOP, b"data: [DONE]")

    reply = await chat(stream=True)

    assert reply.data[-1] == b"[DONE]"


async def test_a_stream_of_nothing_but_its_end_is_complete(chat, upstream, courier):
    upstream.will_answer(OPENING, STOP, DONE)

    reply = await chat(stream=True)

    assert reply.content == OPENING + STOP + DONE
    assert (await courier.record(reply.request_id)).outcome == "ok"


async def test_the_upstream_is_asked_for_the_routes_model_and_for_usage(chat, upstream):
    await chat(stream=True)

    sent = upstream.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent["model"] == "alpha-tiny"
    assert sent["stream_options"] == {"include_usage": True}


async def test_a_connection_to_the_upstream_is_used_again(chat, upstream):
    for streams in (True, False, True):
        await chat(stream=streams)

    assert list(upstream.served.values()) == [3]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_is_recorded_with_what_the_provider_reports(
    chat, upstream, courier, key, stream
):
    usage = {
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    upstream.will_answer(
        *([HELLO, STOP, usage_chunk(7, 3, **usage), DONE] if stream else []),
        *([] if stream else [completion(usage=usage_of(7, 3, **usage))]),
    )

    reply = await chat(stream=stream, model="small")

    record = await courier.record(reply.request_id)
    assert (record.outcome, record.end_reason, record.status) == ("ok", "complete", 200)
    assert (record.key_id, record.key_name, record.team_id) == (key.pk, "notebook", key.team_id)
    assert (record.operation, record.streamed) == ("chat", stream)
    assert (record.model_asked, record.model_served) == ("small", "tiny")
    assert (record.provider_name, record.upstream_model) == ("alpha", "alpha-tiny")
    assert (record.input_tokens, record.cached_input_tokens) == (7, 2)
    assert (record.output_tokens, record.reasoning_tokens) == (3, 1)
    assert (record.usage_source, record.attempts) == ("provider", 1)
    assert record.total_ms >= (record.first_token_ms or 0)
    assert (record.first_token_ms is not None) is stream


async def test_the_cost_is_exact_to_the_nano_dollar(chat, courier, upstream):
    upstream.will_answer(completion(usage=usage_of(1_234_567, 89)))

    record = await courier.record((await chat()).request_id)

    assert record.cost_nano == 1_234_567 * 150 + 89 * 600


async def test_cached_tokens_have_their_own_price(chat, courier, upstream):
    await courier.make(
        lambda: factories.make_price(
            factories.make_model("cached", alpha()), input="3", cached_input="0.30", output="15"
        )
    )
    upstream.will_answer(
        completion(usage=usage_of(100, 10, prompt_tokens_details={"cached_tokens": 60}))
    )

    record = await courier.record((await chat(model="cached")).request_id)

    assert record.cost_nano == 40 * 3000 + 60 * 300 + 10 * 15000


async def test_a_charge_can_be_worked_out_again_from_its_record_and_price(chat, courier, upstream):
    """S-40: every class, the markup, and the version of the price are on the record."""
    upstream.will_answer(
        completion(
            usage=usage_of(
                1000,
                300,
                prompt_tokens_details={
                    "cached_tokens": 200, "cache_write_tokens": 100, "audio_tokens": 50
                },
                completion_tokens_details={"reasoning_tokens": 90, "audio_tokens": 30},
            )
        )
    )  # fmt: skip
    await courier.make(
        lambda: factories.make_price(
            factories.make_model("omni", alpha(), priced=False), input="1", cached_input="0.1",
            cache_write="1.25", audio_input="40", output="10", reasoning="12",
            audio_output="80", request="0.001",
        )
    )  # fmt: skip

    record = await courier.record((await chat(model="omni")).request_id)

    def again():
        usage = TokenUsage(**{each.name: getattr(record, each.name) for each in fields(TokenUsage)})
        return price_of(Price.objects.get(pk=record.price_id)).cost_nano(usage)

    cost = await courier.make(again)
    assert record.provider_cost_nano == cost
    assert record.cost_nano == charged_nano(cost, record.markup_bp)
    assert cost > 1_000_000


async def test_pricing_a_request_anew_by_the_same_prices_finds_no_difference(chat, courier, key):
    def make():
        model = factories.make_model("routed", alpha(), priced=False)
        factories.make_price(model, input="1", output="1")
        factories.make_price(model, route=model.routes.get(), input="3", output="7")
        Team.objects.filter(pk=key.team_id).update(markup_percent="12.34")
        Revision.bump()

    await courier.make(make)
    record = await courier.record((await chat(model="routed")).request_id)

    scope = rerating.Scope(record.day, record.day)
    (total,) = await courier.make(lambda: rerating.survey(scope))
    assert (total.requests, total.changed, total.unknown) == (1, 0, 0)
    assert total.old_nano > 0


async def test_a_fraction_of_a_nano_dollar_is_never_given_away(chat, courier, upstream):
    await courier.make(
        lambda: factories.make_price(
            factories.make_model("cheap", alpha()), input="0.0001", output="0"
        )
    )
    upstream.will_answer(completion(usage=usage_of(1, 1)))

    assert (await courier.record((await chat(model="cheap")).request_id)).cost_nano == 1


async def test_an_unknown_price_is_no_price_and_not_zero(chat, courier, settings):
    settings.COURIER_UNPRICED = "allow"
    await courier.make(lambda: factories.make_model("free", alpha(), priced=False))

    record = await courier.record((await chat(model="free")).request_id)

    assert (record.cost_nano, record.price_id) == (None, None)


@pytest.mark.parametrize("stream", [True, False])
async def test_usage_that_is_missing_is_counted_and_marked(chat, courier, upstream, stream):
    parts = [chunk("Once upon a time."), STOP, DONE]
    whole = completion("Once upon a time.").replace(b'"usage"', b'"unusual"')
    upstream.will_answer(*(parts if stream else [whole]))

    record = await courier.record((await chat(stream=stream)).request_id)

    assert record.usage_source == "estimated"
    assert record.output_tokens == tokenizer.count("Once upon a time.", "alpha-tiny")
    # What models put around a message, and before their answer, is read too.
    assert record.input_tokens == tokenizer.count(SAY_HELLO["content"], "alpha-tiny") + 4 + 3
    assert record.cost_nano == record.input_tokens * 150 + record.output_tokens * 600


@pytest.mark.parametrize(
    "usage", [{}, {"prompt_tokens": None, "completion_tokens": None}, [], "7", 7, None]
)
async def test_usage_that_says_nothing_is_counted(chat, courier, upstream, usage):
    upstream.will_answer(HELLO, STOP, frame({"choices": [], "usage": usage}), DONE)

    record = await courier.record((await chat(stream=True)).request_id)

    assert (record.usage_source, record.output_tokens > 0) == ("estimated", True)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("given", "output"), [(0, 0), (-7, -3), ("7", "3"), (None, 0), ([7], {"3": 3}), (True, True)]
)
async def test_usage_that_cannot_be_is_no_free_answer(
    chat, courier, upstream, stream, given, output
):
    usage = {"prompt_tokens": given, "completion_tokens": output}
    parts = [chunk("Once upon a time."), STOP, frame({"choices": [], "usage": usage}), DONE]
    upstream.will_answer(*(parts if stream else [completion("Once upon a time.", usage=usage)]))

    record = await courier.record((await chat(stream=stream)).request_id)

    assert record.usage_source == "estimated"
    assert record.input_tokens == tokenizer.count(SAY_HELLO["content"], "alpha-tiny") + 4 + 3
    assert record.output_tokens == tokenizer.count("Once upon a time.", "alpha-tiny")
    assert record.cost_nano == record.input_tokens * 150 + record.output_tokens * 600


@pytest.mark.parametrize("stream", [True, False])
async def test_of_usage_what_is_told_is_kept_and_the_rest_counted(chat, courier, upstream, stream):
    usage = {"prompt_tokens": None, "completion_tokens": 50}
    parts = [HELLO, STOP, frame({"choices": [], "usage": usage}), DONE]
    upstream.will_answer(*(parts if stream else [completion(usage=usage)]))

    record = await courier.record((await chat(stream=stream)).request_id)

    assert (record.usage_source, record.output_tokens) == ("estimated", 50)
    assert record.input_tokens > 3


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": 2**63},
        {"prompt_tokens": 1.5, "completion_tokens": "7"},
        {"prompt_tokens": True, "completion_tokens": [1]},
        {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": 5},
        {"prompt_tokens": 10**30, "completion_tokens": 0},
    ],
)
async def test_lies_about_usage_do_no_harm(chat, courier, upstream, usage):
    upstream.will_answer(HELLO, STOP, frame({"choices": [], "usage": usage}), DONE)

    record = await courier.record((await chat(stream=True)).request_id)

    assert record.outcome == "ok"
    assert 0 <= record.input_tokens <= 10**12
    assert 0 <= record.output_tokens <= 10**12
    assert record.cost_nano >= 0


async def test_an_answer_tells_about_itself(chat):
    reply = await chat(model="small")

    assert reply.headers["x-courier-model-served"] == "tiny"
    assert reply.headers["x-courier-attempts"] == "1"
    assert float(reply.headers["x-courier-overhead-ms"]) >= 0


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_and_its_record_tell_the_revision_that_served_it(
    recorded, chat, courier, stream
):
    number = await courier.make(revise)

    reply = await chat(stream=stream)

    record = await courier.record(reply.request_id)
    assert int(reply.headers["x-courier-revision"]) == record.revision == number


async def test_it_is_the_revision_that_served_it_though_it_began_under_another(
    recorded, courier, key
):
    made = []

    async def body():
        yield b'{"model": "tiny", "messages": ['
        made.append(await courier.make(revise))
        yield b'{"role": "user", "content": "Hi"}]}'

    headers = {"authorization": f"Bearer {key.secret}", "content-type": "application/json"}
    reply = await courier.client.post("/v1/chat/completions", headers=headers, content=body())

    assert [int(reply.headers["x-courier-revision"])] == made


async def test_a_refusal_tells_the_revision_as_well(recorded, courier, chat):
    number = await courier.make(revise)

    reply = await chat(model="unknown")

    assert int(reply.headers["x-courier-revision"]) == number


def revise():
    """Change something. Returns the number of the revision that it makes."""
    with made_by("command", "test"):
        factories.make_provider("another")
    return RecordedRevision.objects.first().number


async def test_a_model_may_be_asked_for_by_a_wildcard(chat, courier, upstream):
    await courier.make(lambda: factories.make_model("gpt-*", alpha()))

    reply = await chat(model="gpt-9/mini")

    record = await courier.record(reply.request_id)
    assert (record.model_asked, record.model_served) == ("gpt-9/mini", "gpt-*")


async def test_hostile_names_are_recorded_as_far_as_they_go(chat, courier):
    await courier.make(lambda: factories.make_model("*", alpha()))

    reply = await chat(model="a\u2028'; DROP")

    assert (await courier.record(reply.request_id)).outcome == "ok"


async def test_the_echo_provider_answers_without_a_network(chat, courier):
    await courier.make(
        lambda: factories.make_model(
            "echo", factories.make_provider("echo", kind="echo", base_url="")
        )
    )

    whole, streamed = await chat(model="echo"), await chat(model="echo", stream=True)

    assert whole.json["choices"][0]["message"]["content"] == "Say hello."
    assert streamed.data[-1] == b"[DONE]"
