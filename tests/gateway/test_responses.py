"""Responses that go well, and those that cannot be given."""

import json

import pytest

from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import CUT, HEARD, STALL, error_body
from tests.gateway.conftest import until
from tests.gateway.test_decision import why
from tests.gateway.test_disconnect import leave_after_the_first_piece
from tests.gateway.validators import openai_chat as chat_validator
from tests.gateway.validators import openai_responses as validator
from tests.gateway.wire_cases import WIRE

HELLO = "Say hello."


def wire(name):
    """The frames of a stream as a vendor sent it."""
    content = (WIRE / "openai-responses" / name).read_bytes()
    return [frame + b"\n\n" for frame in content.split(b"\n\n")[:-1]]


PLAIN = wire("openai-plain.sse")
WHOLE = (WIRE / "openai-responses" / "openai-whole.json").read_bytes()


@pytest.fixture
def alpha(alpha):
    """The provider speaks Responses."""
    alpha.options = {"speaks": ["openai-responses"]}
    alpha.save()
    return alpha


@pytest.fixture
def respond(key, courier):
    """Ask for a response of the model `tiny`."""

    async def ask(*, key=key, headers=(), **body):
        body = {"model": "tiny", "input": HELLO, **body}
        return await courier.post("/v1/responses", body, key=key, headers=headers)

    return ask


async def test_a_whole_response_reaches_the_client_unchanged(respond, upstream):
    upstream.will_answer(WHOLE)

    reply = await respond()

    assert (reply.status, reply.content) == (200, WHOLE)


async def test_a_stream_reaches_the_client_unchanged(respond, upstream):
    upstream.will_answer(*PLAIN)

    reply = await respond(stream=True)

    assert (reply.status, reply.content) == (200, b"".join(PLAIN))
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_the_upstream_is_asked_in_the_clients_own_bytes(courier, respond, upstream, key):
    upstream.will_answer(WHOLE)
    body = b'{"input": [ ], "model" : "tiny","x":1.50, "store":false}'

    await courier.request("POST", "/v1/responses", key=key, content=body)

    sent = upstream.requests[0]
    assert sent.path == "/v1/responses"
    assert sent.body == body.replace(b"tiny", b"alpha-tiny")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_is_recorded_with_what_the_provider_reports(
    respond, upstream, courier, key, stream
):
    upstream.will_answer(*(PLAIN if stream else [WHOLE]))

    reply = await respond(stream=stream)

    record = await courier.record(reply.request_id)
    assert (record.outcome, record.end_reason, record.status) == ("ok", "complete", 200)
    assert (record.operation, record.streamed) == ("responses", stream)
    assert (record.input_tokens, record.output_tokens) == (37, 11)
    assert (record.usage_source, record.cost_nano) == ("provider", 37 * 150 + 11 * 600)


async def test_a_stream_that_breaks_off_is_charged_for_what_was_said(respond, upstream, courier):
    upstream.will_answer(*PLAIN[:6], CUT)

    reply = await respond(stream=True)

    record = await courier.record(reply.request_id)
    assert (record.end_reason, record.usage_source) == ("upstream_cut", "estimated")
    assert record.output_tokens > 0


async def test_a_stream_that_breaks_off_ends_with_an_error_and_a_failed_response(respond, upstream):
    upstream.will_answer(*PLAIN[:6], CUT)

    reply = await respond(stream=True)

    error, failed = map(json.loads, reply.data[-2:])
    assert (error["type"], error["error"]["code"]) == ("error", "stream_interrupted")
    assert failed["type"] == "response.failed"
    assert failed["response"]["id"] == json.loads(reply.data[0])["response"]["id"]
    assert failed["response"]["error"]["code"] == "server_error"
    assert not validator.check(reply.content).complete


async def test_an_error_before_the_stream_has_its_status_and_openais_shape(respond, upstream):
    upstream.will_answer(error_body("Bad.", code="x"), status=400)

    reply = await respond(stream=True)

    assert (reply.status, reply.code) == (400, "x")
    assert reply.error.keys() == {"message", "type", "param", "code"}


async def test_a_failure_inside_the_stream_before_any_output_is_tried_elsewhere(
    respond, upstream, courier
):
    upstream.will_answer(*wire("openai-failed.sse"))
    upstream.will_answer(*PLAIN)

    reply = await respond(stream=True)

    assert reply.content == b"".join(PLAIN)
    assert (await courier.record(reply.request_id)).attempts == 2


async def test_an_account_without_credit_is_known_inside_a_stream_too(respond, upstream):
    upstream.always(*wire("openai-error-nested.sse"))

    reply = await respond(stream=True)

    assert (reply.status, reply.code) == (502, "upstream_auth_failed")


async def test_an_error_after_a_silence_is_an_event_too(respond, upstream, settings):
    settings.COURIER_KEEP_ALIVE_S = 0.1
    upstream.always(error_body(), status=500, after=HEARD)

    reply = await respond(stream=True)

    assert reply.status == 200
    error, failed = map(json.loads, reply.data)
    assert error["error"]["code"] == "upstream_unavailable"
    assert failed["type"] == "response.failed"
    assert not validator.check(reply.content).complete


async def test_a_client_that_leaves_is_charged_for_what_was_said(courier, key, respond, upstream):
    upstream.will_answer(*PLAIN[:6], STALL)
    call = Call(courier, key=key.secret, path="/v1/responses", input=HELLO, stream=True)

    await leave_after_the_first_piece(call)

    await until(lambda: upstream.departures)
    record = await courier.last_record()
    assert (record.outcome, record.operation) == ("client_disconnected", "responses")
    assert record.output_tokens > 0


# What a key may do


async def test_a_key_may_be_kept_from_responses(respond, courier, tiny):
    other = await courier.make(lambda: factories.make_key(allowed_endpoints=["chat"]))

    reply = await respond(key=other)

    assert (reply.status, reply.code) == (403, "endpoint_not_allowed")


async def test_a_limit_holds_for_responses(respond, courier, key, upstream):
    await courier.make(lambda: factories.make_limit(key=key, metric="requests", amount=1))
    upstream.always(WHOLE)

    first, second = await respond(), await respond()

    assert (first.status, second.status, second.code) == (200, 429, "rate_limit_exceeded")


async def test_a_budget_covers_the_bound_of_a_response(respond, courier, key, upstream):
    await courier.make(lambda: factories.make_budget(key=key, amount="0.0001"))

    assert (await respond(max_output_tokens=1000)).code == "insufficient_quota"


async def test_a_budget_that_runs_out_ends_a_stream_as_incomplete(respond, courier, key, upstream):
    await courier.make(lambda: factories.make_budget(key=key, amount="0.003"))
    upstream.will_answer(*PLAIN[:4], *_many_deltas(), *PLAIN[-4:])

    reply = await respond(stream=True)

    answer = validator.check(reply.content)
    assert answer.finish == "length"
    assert len(answer.text) > 1000
    last = json.loads(reply.data[-1])
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"]["cause"] == "budget_exceeded"
    assert (await courier.record(reply.request_id)).outcome == "budget_exceeded"


def _many_deltas():
    told = json.loads(PLAIN[4].partition(b"data: ")[2])
    for number in range(400):
        event = {**told, "sequence_number": 4 + number, "delta": "word " * 100}
        yield b"event: response.output_text.delta\ndata: " + json.dumps(event).encode() + b"\n\n"


# What nobody keeps


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("prompt", {"id": "pmpt_1"}),
        ("store", True),
    ],
)
async def test_what_courier_does_not_keep_is_refused_by_name(respond, upstream, field, value):
    reply = await respond(**{field: value})

    assert (reply.status, reply.code, reply.error["param"]) == (400, "unsupported_parameter", field)
    assert "store" in reply.error["message"]
    assert not upstream.requests


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"id": "msg_1"},
        {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]},
        {"type": "function_call_output", "output": [{"type": "input_image", "file_id": "file-1"}]},
    ],
)
async def test_an_item_that_stands_for_another_is_refused_by_its_place(respond, upstream, item):
    reply = await respond(input=[{"role": "user", "content": "Hi"}, item])

    assert (reply.code, reply.error["param"]) == ("unsupported_parameter", "input[1]")
    assert not upstream.requests


async def test_a_provider_that_keeps_answers_is_asked_to_go_on(respond, courier, upstream):
    def keep(provider):
        provider.options["keeps"] = ["openai-responses"]
        provider.save()

    await courier.make(lambda: keep(factories.Provider.objects.get(name="alpha")))
    upstream.will_answer(WHOLE)

    reply = await respond(previous_response_id="resp_1", store=True)

    assert reply.status == 200
    assert upstream.requests[0]["previous_response_id"] == "resp_1"


async def test_only_providers_that_keep_answers_are_asked_to_go_on(
    respond, courier, upstream, tiny
):
    def add_one():
        keeping = factories.make_provider(
            "keeping",
            base_url=upstream.url + "/keeping",
            options={"speaks": ["openai-responses"], "keeps": ["openai-responses"]},
        )
        factories.make_upstream_key(keeping)
        factories.make_route(tiny, keeping, upstream_model="kept", priority=9)

    await courier.make(add_one)
    upstream.will_answer(b"{}", status=500)
    upstream.will_answer(WHOLE)

    reply = await respond(previous_response_id="resp_1")

    assert reply.status == 200
    assert {request["model"] for request in upstream.requests} == {"kept"}
    _, told = await why(reply)
    assert [each[5] for each in told["dropped"]] == ["keeps_no_state"]


async def test_a_response_in_the_background_is_refused(respond, upstream):
    reply = await respond(background=True)

    assert (reply.code, reply.error["param"]) == ("unsupported_parameter", "background")
    assert not upstream.requests


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
    ],
)
async def test_a_former_response_is_not_found(courier, key, tiny, method, path):
    reply = await courier.request(method, path, key=key)

    assert (reply.status, reply.code) == (404, "response_not_kept")
    assert "input" in reply.error["message"]


@pytest.mark.parametrize("given", [5, ["text"], {"role": "user"}])
async def test_an_input_that_is_none_is_refused_by_name(respond, upstream, given):
    reply = await respond(input=given)

    assert reply.status == 400
    assert reply.error["param"].startswith("input")
    assert not upstream.requests


# Models that are served by Responses only


class TestOfAModelThatSpeaksNothingElse:
    @pytest.fixture
    def alpha(self, transactional_db, upstream):
        provider = factories.make_provider("alpha", kind="openai", base_url=upstream.url)
        factories.make_upstream_key(provider)
        return provider

    @pytest.fixture
    def tiny(self, alpha):
        model = factories.make_model("tiny")
        factories.make_route(model, alpha, upstream_model="gpt-5-codex")
        return model

    async def test_clients_of_chat_completions_are_translated(self, chat, upstream):
        upstream.will_answer(*wire("openai-tools-parallel.sse"))

        reply = await chat(stream=True, stream_options={"include_usage": True})

        sent = upstream.requests[0]
        assert (sent.path, sent["model"], sent["store"]) == ("/v1/responses", "gpt-5-codex", False)
        answer = chat_validator.check(reply.content)
        assert (answer.text, answer.finish) == ("Let me look.", "tool_calls")
        assert [call["arguments"]["city"] for call in answer.tool_calls] == [
            "Paris",
            'Rome "eternal"',
        ]

    async def test_whole_answers_are_translated_too(self, chat, upstream, courier):
        upstream.will_answer(WHOLE)

        reply = await chat()

        answer = chat_validator.check_whole(reply.json)
        assert (answer.text, answer.finish) == ("Hello there.", "stop")
        assert (await courier.record(reply.request_id)).output_tokens == 11

    async def test_a_failure_that_is_the_clients_is_told_as_such(self, chat, upstream):
        failed = {"error": {"code": "invalid_prompt", "message": "Not this."}, "output": []}
        upstream.will_answer(json.dumps({"object": "response", **failed}).encode())

        reply = await chat()

        assert (reply.status, reply.code) == (400, "invalid_prompt")
        assert "Not this." in reply.error["message"]
