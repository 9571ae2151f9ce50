"""POST /v1/messages, as Anthropic's clients call it."""

import json

import pytest

from registry.models import Provider
from tests import factories
from tests.fakes.upstream import CUT, HEARD
from tests.gateway.anthropic_streams import STREAM, event, message, stream_of
from tests.gateway.conftest import HELLO
from tests.gateway.validators import anthropic_messages as validator


@pytest.fixture
def alpha(transactional_db, upstream):
    """A provider that speaks the client's format."""
    provider = factories.make_provider("alpha", kind="anthropic", base_url=upstream.url)
    factories.make_upstream_key(provider)
    upstream.default = None
    return provider


@pytest.fixture
def messages(key, courier):
    """Ask for a message of the model `tiny`."""

    async def ask(*, path="/v1/messages", key=key, headers=(), **body):
        body = {"model": "tiny", "max_tokens": 100, "messages": [HELLO], **body}
        sent = {"x-api-key": key.secret} | dict(headers)
        return await courier.post(path, body, headers=sent)

    return ask


async def test_a_whole_answer_reaches_the_client_unchanged(messages, upstream):
    answer = message("Hi.", tomorrow={"x": 1.50}).replace(b":", b" :\n")
    upstream.will_answer(answer)

    reply = await messages()

    assert (reply.status, reply.content) == (200, answer)


async def test_a_stream_reaches_the_client_unchanged(messages, upstream):
    upstream.will_answer(*STREAM)

    reply = await messages(stream=True)

    assert (reply.status, reply.content) == (200, b"".join(STREAM))
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_the_vendor_is_asked_at_its_path_with_its_key_and_a_version(messages, upstream):
    upstream.will_answer(message())

    await messages(path="/v1/messages?beta=true", top_k=5, x_vendor=1)

    sent = upstream.requests[0]
    assert sent.path == "/v1/messages"
    assert (sent["model"], sent["top_k"], sent["x_vendor"]) == ("alpha-tiny", 5, 1)
    assert sent.headers["x-api-key"] == "sk-upstream-of-a-test"
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in sent.headers
    assert "authorization" not in sent.headers


async def test_what_the_client_says_of_the_version_reaches_the_vendor(messages, upstream):
    upstream.will_answer(message())
    told = {"anthropic-version": "2024-01-01", "anthropic-beta": "a-2025,b-2025", "x-other": "no"}

    await messages(headers=told)

    sent = upstream.requests[0].headers
    assert sent["anthropic-version"] == "2024-01-01"
    assert sent["anthropic-beta"] == "a-2025,b-2025"
    assert "x-other" not in sent


async def test_a_header_that_is_given_twice_is_a_list(courier, key, upstream):
    upstream.will_answer(message())
    told = [("x-api-key", key.secret), ("anthropic-beta", "a"), ("anthropic-beta", "b, c")]
    body = {"model": "tiny", "max_tokens": 1, "messages": [HELLO]}

    await courier.client.post("/v1/messages", json=body, headers=told)

    assert upstream.requests[0].headers["anthropic-beta"] == "a,b, c"


async def test_a_header_that_could_not_be_one_is_not_passed_on(messages, upstream):
    upstream.will_answer(message())

    await messages(headers={"anthropic-beta": b"\xff"})

    assert "anthropic-beta" not in upstream.requests[0].headers


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
async def test_a_key_is_taken_from_either_header(courier, key, upstream, header):
    upstream.will_answer(message())
    secret = {"x-api-key": key.secret, "authorization": f"Bearer {key.secret}"}[header]
    body = {"model": "tiny", "max_tokens": 1, "messages": [HELLO]}

    reply = await courier.post("/v1/messages", body, headers={header: secret})

    assert reply.status == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_is_recorded_with_what_the_provider_reports(
    messages, courier, upstream, stream
):
    usage = {
        "input_tokens": 7,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 5,
    }
    upstream.will_answer(*(stream_of("Hi.", usage=usage) if stream else [message(usage=usage)]))

    record = await courier.record((await messages(stream=stream)).request_id)

    assert (record.outcome, record.operation, record.streamed) == ("ok", "messages", stream)
    assert (record.input_tokens, record.cached_input_tokens) == (137, 100)
    assert (record.cache_write_tokens, record.cache_write_1h_tokens) == (30, 20)
    assert (record.output_tokens, record.usage_source) == (5, "provider")


async def test_tokens_of_the_cache_have_their_own_prices(messages, courier, upstream):
    usage = {
        "input_tokens": 7,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 5,
    }

    def make():
        model = factories.make_model("cached", Provider.objects.get(name="alpha"), priced=False)
        factories.make_price(
            model, input="3", cached_input="0.3", cache_write="3.75", cache_write_1h="6",
            output="15",
        )  # fmt: skip

    await courier.make(make)
    upstream.will_answer(*stream_of("Hi.", usage=usage))

    record = await courier.record((await messages(stream=True, model="cached")).request_id)

    assert record.cost_nano == 7 * 3000 + 100 * 300 + 10 * 3750 + 20 * 6000 + 5 * 15_000


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [1]}, "tools.0"),
    ],
)
async def test_a_body_that_is_wrong_is_refused_in_the_clients_own_words(
    messages, upstream, body, field
):
    reply = await messages(**body)

    assert reply.status == 400
    validator.check_error(reply.json)
    assert (reply.error["type"], reply.error["param"]) == ("invalid_request_error", field)
    assert reply.json["request_id"] == reply.headers["x-request-id"]
    assert upstream.requests == []


async def test_a_bad_key_is_refused_in_the_clients_own_words(courier):
    reply = await courier.post("/v1/messages", {}, headers={"x-api-key": "sk-none"})

    validator.check_error(reply.json)
    assert (reply.status, reply.error["type"]) == (401, "authentication_error")
    assert "request_id" not in reply.json


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
    ],
)
async def test_paths_that_are_none_are_refused_in_the_clients_own_words(
    courier, key, method, path, status, kind
):
    reply = await courier.request(method, path, key=key)

    validator.check_error(reply.json)
    assert (reply.status, reply.error["type"]) == (status, kind)


async def test_a_body_that_is_too_large_is_refused_in_the_clients_own_words(messages, settings):
    settings.COURIER_MAX_BODY = 10

    reply = await messages()

    validator.check_error(reply.json)
    assert (reply.status, reply.error["type"]) == (413, "request_too_large")


async def test_a_limit_is_told_in_the_clients_own_words(messages, courier, key, upstream):
    await courier.make(lambda: factories.make_limit(key=key, amount=1))
    upstream.will_answer(message())
    await messages()

    reply = await messages()

    validator.check_error(reply.json)
    assert (reply.status, reply.error["type"]) == (429, "rate_limit_error")
    assert int(reply.headers["retry-after"]) >= 1


async def test_a_model_that_is_not_there_is_told_in_the_clients_own_words(messages):
    reply = await messages(model="nothing")

    validator.check_error(reply.json)
    assert (reply.status, reply.error["type"]) == (404, "not_found_error")


async def test_a_key_may_be_kept_from_messages(messages, courier, team):
    key = await courier.make(lambda: factories.make_key(team, allowed_endpoints=["chat"]))

    reply = await messages(key=key)

    assert (reply.status, reply.error["type"]) == (403, "permission_error")


async def test_the_clients_own_fault_is_told_in_the_vendors_words(messages, upstream):
    told = {"type": "invalid_request_error", "message": "prompt is too long: 200001 tokens"}
    body = json.dumps({"type": "error", "error": told}).encode()
    upstream.will_answer(body, status=400)

    reply = await messages()

    validator.check_error(reply.json)
    assert (reply.status, reply.error["message"]) == (400, told["message"])
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_an_overloaded_vendor_is_asked_again(messages, upstream, stream):
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    upstream.will_answer(json.dumps(overloaded).encode(), status=529)
    upstream.will_answer(*(STREAM if stream else [message()]))

    reply = await messages(stream=stream)

    assert (reply.status, reply.headers["x-courier-attempts"]) == (200, "2")


async def test_a_stream_that_is_overloaded_before_its_first_output_is_asked_for_again(
    messages, upstream
):
    failed = event({"type": "error", "error": {"type": "overloaded_error", "message": "No."}})
    upstream.will_answer(STREAM[0], failed)
    upstream.will_answer(*STREAM)

    reply = await messages(stream=True)

    assert reply.content == b"".join(STREAM)


@pytest.mark.parametrize("kind", ["authentication_error", "permission_error"])
async def test_a_stream_that_fails_for_couriers_key_says_nothing_of_it(messages, upstream, kind):
    failed = event({"type": "error", "error": {"type": kind, "message": "the secret"}})
    upstream.will_answer(STREAM[0], failed)

    reply = await messages(stream=True)

    validator.check_error(reply.json)
    assert (reply.status, reply.code) == (502, "upstream_auth_failed")
    assert b"the secret" not in reply.content


@pytest.mark.parametrize("end", [CUT, event({"type": "error", "error": {"type": "api_error"}})])
async def test_a_stream_that_breaks_off_ends_with_an_error_and_no_end(
    messages, courier, upstream, end
):
    upstream.will_answer(*STREAM[:3], HEARD, end)

    reply = await messages(stream=True)

    told = validator.check(reply.content)
    assert not told.complete
    assert (await courier.record(reply.request_id)).outcome == "stream_interrupted"


async def test_a_silence_is_broken_by_pings(messages, upstream, settings):
    settings.COURIER_KEEP_ALIVE_S = 0.3
    upstream.will_answer(*STREAM, after=HEARD)

    reply = await messages(stream=True)

    assert reply.content.startswith(b'event: ping\ndata: {"type": "ping"}\n\n')
    assert validator.check(reply.content).text == "Hello there."


async def test_an_answer_that_breaks_off_costs_the_input_as_told_and_the_output_as_seen(
    messages, courier, upstream
):
    usage = {"input_tokens": 7, "cache_read_input_tokens": 90_000, "output_tokens": 99}
    upstream.will_answer(*stream_of("one two", " three", usage=usage)[:4], HEARD, CUT)

    record = await courier.record((await messages(stream=True)).request_id)

    assert (record.input_tokens, record.cached_input_tokens) == (90_007, 90_000)
    assert (record.output_tokens, record.usage_source) == (3, "estimated")


# Counting


async def test_tokens_are_counted_without_asking_anybody(messages, upstream):
    reply = await messages(
        path="/v1/messages/count_tokens?beta=true",
        max_tokens=None,
        system=[{"type": "text", "text": "Be brief."}],
        tools=[{"name": "get_weather", "description": "Weather", "input_schema": {}}],
    )

    assert reply.status == 200
    assert reply.json.keys() == {"input_tokens"}
    assert 15 < reply.json["input_tokens"] < 50
    assert upstream.requests == []


async def test_all_that_a_model_reads_is_counted(messages):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}
    more = [
        {},
        {"system": "Be brief."},
        {"tools": [{"name": "f", "input_schema": {"type": "object"}}]},
        {"messages": [HELLO, {"role": "user", "content": [image]}]},
    ]

    replies = [await messages(path="/v1/messages/count_tokens", **body) for body in more]

    least, *others = [reply.json["input_tokens"] for reply in replies]
    assert all(count > least for count in others)


async def test_counting_is_neither_limited_nor_recorded(messages, courier, key):
    await courier.make(lambda: factories.make_limit(key=key, amount=1))

    statuses = [(await messages(path="/v1/messages/count_tokens")).status for _ in range(3)]

    assert statuses == [200] * 3


@pytest.mark.parametrize(
    ("body", "status"),
    [({"model": "nothing"}, 404), ({"messages": None}, 400), ({"messages": [{}]}, 400)],
)
async def test_what_cannot_be_counted_is_refused(messages, body, status):
    reply = await messages(path="/v1/messages/count_tokens", **body)

    validator.check_error(reply.json)
    assert reply.status == status


async def test_counting_needs_the_permission_to_ask(messages, courier, team):
    key = await courier.make(lambda: factories.make_key(team, allowed_endpoints=["chat"]))

    assert (await messages(path="/v1/messages/count_tokens", key=key)).status == 403
