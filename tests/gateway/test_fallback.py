"""What fails before the first output is tried elsewhere; what fails after it is not."""

import asyncio

import pytest

from gateway import attempt
from tests import factories, services
from tests.fakes.upstream import (
    CUT,
    DONE,
    HEARD,
    HELLO,
    OPENING,
    RESET,
    STALL,
    STOP,
    STREAM,
    USAGE,
    Answer,
    ScriptedUpstream,
    chunk,
    completion,
    error_body,
    frame,
)
from tests.gateway.servers import self_signed_server

WHOLE = completion("From the second.")
STREAMED = b"".join(part for part in STREAM if part != USAGE)


@pytest.fixture
def second():
    with ScriptedUpstream() as server:
        server.always(WHOLE)
        yield server


@pytest.fixture
def pair(courier, upstream, second):
    """A model with two routes: `upstream`, or another first address, and then `second`."""

    async def make(first_url=None, **fields):
        def rows():
            urls = (first_url or upstream.url, second.url)
            first = factories.make_provider("first", base_url=urls[0], **fields)
            other = factories.make_provider("second", base_url=urls[1])
            factories.make_upstream_key(first)
            model = factories.make_model("pair", first, other)
            factories.make_price(model)

        await courier.make(rows)

    return make


@pytest.fixture
def ask(chat, second):
    async def ask_pair(stream):
        if stream:
            second.always(*STREAM)
        return await chat(model="pair", stream=stream)

    return ask_pair


def answer(stream):
    return STREAMED if stream else WHOLE


def status(number, **headers):
    return lambda upstream, _: upstream.will_answer(
        error_body("Secret words."), status=number, headers=headers
    )


def ending(how):
    return lambda upstream, _: upstream.will_not_answer(how)


def raw(*parts):
    return lambda upstream, _: upstream.will_send_raw(*parts, CUT)


def cut_off(upstream, stream):
    if stream:
        upstream.will_answer(OPENING, b"data: {", CUT)
    else:
        upstream.will_answer(completion()[:50], CUT)


def reset_midway(upstream, stream):
    upstream.will_answer(OPENING if stream else completion()[:50], RESET)


def malformed(upstream, stream):
    parts = (OPENING, b"data: {nonsense\n\n", STALL) if stream else (b"{nonsense",)
    upstream.will_answer(*parts)


def wrong_shape(upstream, stream):
    parts = (frame([1]), STALL) if stream else (b"[]",)
    upstream.will_answer(*parts)


def page(upstream, _):
    upstream.will_answer(b"<html>Hi</html>", headers={"content-type": "text/html"})


def error_inside(upstream, stream):
    error = {"error": {"message": "Secret words.", "code": "overloaded"}}
    if stream:
        upstream.will_answer(OPENING, frame(error), STALL)
    else:
        upstream.will_answer(frame(error).removeprefix(b"data: "))


def silent_after_headers(upstream, stream):
    if stream:
        upstream.will_answer(OPENING, STALL)
    else:
        upstream.will_not_answer(STALL)


def over_before_it_began(upstream, stream):
    parts = (OPENING, b"") if stream else (b"",)
    upstream.will_answer(*parts)


def endless_line(upstream, stream):
    line = [b"x" * 65536] * 20
    parts = (b"data: ", *line, STALL) if stream else line
    upstream.will_answer(*parts)


def silent_refusal(upstream, _):
    upstream.will_answer(error_body()[:5], STALL, status=500)


def compressed(upstream, _):
    upstream.will_answer(b"\x1f\x8b\x08junk", headers={"content-encoding": "gzip"})


FAULTS = {
    "silent": ending(STALL),
    "closed": ending(CUT),
    "reset": ending(RESET),
    "429": status(429),
    "429 with a pause": status(429, **{"retry-after": "30"}),
    "500": status(500),
    "502": status(502),
    "503": status(503),
    "504": status(504),
    "529": status(529),
    "401": status(401),
    "402": status(402),
    "403": status(403),
    "404": status(404),
    "redirect": status(302, location="http://169.254.169.254/latest/meta-data"),
    "status 418": status(418),
    "no HTTP": raw(b"220 mail.example ESMTP\r\n"),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}"),
    "cut off": cut_off,
    "reset midway": reset_midway,
    "malformed": malformed,
    "wrong shape": wrong_shape,
    "a page": page,
    "error inside": error_inside,
    "silent after headers": silent_after_headers,
    "over before it began": over_before_it_began,
    "endless line": endless_line,
    "compressed": compressed,
    "silent refusal": silent_refusal,
}


def patience(fault):
    """How long the first byte may take: short where it never comes."""
    return 0.3 if "silent" in fault else 20


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_the_next_route_answers_after(ask, pair, courier, upstream, fault, stream):
    await pair(first_byte_timeout_s=patience(fault))
    FAULTS[fault](upstream, stream)

    reply = await ask(stream)

    assert (reply.status, reply.content) == (200, answer(stream))
    assert reply.headers["x-courier-attempts"] == "2"
    record = await courier.record(reply.request_id)
    assert (record.outcome, record.attempts, record.provider_name) == ("ok", 2, "second")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_the_next_route_answers_where_nobody_listens(ask, pair, stream):
    await pair(f"http://127.0.0.1:{services.free_port()}/v1")

    assert (await ask(stream)).content == answer(stream)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_the_next_route_answers_where_the_certificate_is_not_trusted(ask, pair, stream):
    with self_signed_server() as url:
        await pair(url)

        assert (await ask(stream)).content == answer(stream)


@pytest.mark.parametrize("fault", ["429", "500", "closed", "401", "malformed", "error inside"])
async def test_an_answer_that_fails_everywhere_is_told_without_the_upstreams_words(
    chat, courier, upstream, fault
):
    for _ in range(3):
        FAULTS[fault](upstream, False)

    reply = await chat()

    assert reply.status in {429, 502, 503}
    assert reply.error["type"] in {"server_error", "rate_limit_error"}
    assert "Secret words" not in reply.content.decode()
    record = await courier.record(reply.request_id)
    assert (record.outcome, record.end_reason) == (reply.code, "refused")
    assert (record.status, record.usage_source, record.cost_nano) == (reply.status, "none", 0)


@pytest.mark.parametrize(
    ("fault", "told", "code"),
    [
        ("silent", 504, "upstream_timeout"),
        ("closed", 502, "upstream_unreachable"),
        ("429", 429, "upstream_rate_limited"),
        ("503", 503, "upstream_unavailable"),
        ("401", 502, "upstream_auth_failed"),
        ("404", 502, "upstream_model_missing"),
        ("redirect", 502, "upstream_redirect"),
        ("a page", 502, "upstream_bad_response"),
    ],
)
async def test_each_failure_has_its_code(chat, courier, upstream, fault, told, code):
    def rows():
        wait = patience(fault)
        provider = factories.make_provider(base_url=upstream.url, first_byte_timeout_s=wait)
        factories.make_model("once", provider, max_attempts=1)

    await courier.make(rows)
    FAULTS[fault](upstream, False)

    reply = await chat(model="once")

    assert (reply.status, reply.code) == (told, code)
    record = await courier.record(reply.request_id)
    assert record.end_reason == ("timeout" if fault == "silent" else "refused")


@pytest.mark.parametrize("number", [400, 409, 413, 415, 422])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_what_the_client_did_wrong_is_told_and_tried_nowhere_else(
    ask, pair, courier, upstream, second, number, stream
):
    await pair()
    body = error_body("Too long.", type="x", code="context_length_exceeded")
    upstream.will_answer(body, status=number)

    reply = await ask(stream)

    assert (reply.status, reply.code) == (number, "context_length_exceeded")
    assert reply.error["message"].startswith("Too long.")
    assert second.requests == []
    record = await courier.record(reply.request_id)
    assert (record.outcome, record.status) == ("context_length_exceeded", number)


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_no_request_makes_more_calls_than_its_model_allows(chat, courier, upstream, most):
    def rows():
        providers = [factories.make_provider(base_url=upstream.url) for _ in range(4)]
        factories.make_model("many", *providers, max_attempts=most)

    await courier.make(rows)
    upstream.always(error_body(), status=503)

    reply = await chat(model="many")

    assert len(upstream.requests) == most
    assert (await courier.record(reply.request_id)).attempts == most


async def test_a_client_is_told_not_to_retry_what_was_retried(chat, upstream):
    upstream.always(error_body(), status=503)

    reply = await chat()

    assert len(upstream.requests) == 3
    assert reply.headers["x-should-retry"] == "false"


async def test_a_pause_that_a_provider_asks_for_reaches_the_client(chat, upstream):
    upstream.always(error_body(), status=429, headers={"retry-after": "40"})

    reply = await chat()

    assert (reply.status, reply.headers["retry-after"]) == (429, "40")
    assert len(upstream.requests) == 1


async def test_a_provider_that_asked_for_a_pause_is_not_called_during_it(chat, upstream):
    upstream.will_answer(error_body(), status=429, headers={"retry-after": "40"})
    await chat()

    reply = await chat()

    assert (reply.status, reply.code) == (429, "upstream_rate_limited")
    assert 38 <= int(reply.headers["retry-after"]) <= 40
    assert len(upstream.requests) == 1


async def test_a_route_that_fails_again_and_again_is_left_out(ask, pair, upstream):
    await pair()
    upstream.always(error_body(), status=503)
    for _ in range(5):
        await ask(False)

    reply = await ask(False)

    assert len(upstream.requests) == 5
    assert reply.headers["x-courier-attempts"] == "1"


async def test_a_model_without_routes_is_unavailable(chat, courier):
    await courier.make(lambda: factories.make_model("empty"))

    reply = await chat(model="empty")

    assert (reply.status, reply.code) == (503, "no_available_target")
    assert (await courier.record(reply.request_id)).attempts == 0


AFTER_OUTPUT = {
    "cut off": (CUT,),
    "reset": (RESET,),
    "over without an end": (b": bye\n\n",),
    "a half frame": (b"data: {", CUT),
    "a reason but no end": (STOP,),
    "an error": (frame({"error": {"message": "Secret words."}}), STALL),
    "a malformed error": (b'data: {"error": \n\n', STALL),
    "a malformed usage": (b'data: {"usage": {\n\n', STALL),
    "an endless line": (b"data: ", *[b"x" * 65536] * 20, STALL),
}


@pytest.mark.parametrize("fault", AFTER_OUTPUT)
async def test_nothing_is_tried_again_once_the_client_has_seen_output(
    chat, pair, courier, upstream, second, fault
):
    await pair()
    upstream.will_answer(OPENING, HELLO, chunk(" world"), HEARD, *AFTER_OUTPUT[fault])

    reply = await chat(model="pair", stream=True)

    assert reply.content.startswith(OPENING + HELLO)
    assert reply.failure["code"] in {"stream_interrupted", "upstream_bad_response"}
    assert DONE not in reply.content
    assert "Secret words" not in reply.content.decode()
    assert second.requests == []
    record = await courier.record(reply.request_id)
    assert (record.end_reason, record.status) == ("upstream_cut", 200)
    assert (record.usage_source, record.output_tokens) == ("estimated", 2)


async def test_an_answer_to_the_last_byte_and_no_further_is_read_from_the_upstream(
    chat, upstream, courier, settings
):
    settings.COURIER_MAX_ANSWER = 1000
    upstream.always(completion("x" * 1000))

    reply = await chat()

    assert (reply.status, reply.code) == (502, "upstream_bad_response")


async def test_many_at_once_do_not_get_each_others_answers(chat, upstream):
    upstream.default = lambda request: Answer((completion(request["messages"][0]["content"]),))
    questions = [f"question {n}" for n in range(40)]

    replies = await asyncio.gather(
        *(chat(messages=[{"role": "user", "content": each}]) for each in questions)
    )

    assert [r.json["choices"][0]["message"]["content"] for r in replies] == questions


async def test_a_stream_that_only_opens_is_not_held_for_ever(
    ask, pair, courier, upstream, monkeypatch
):
    monkeypatch.setattr(attempt, "MOST_HELD", 10_000)
    await pair()
    upstream.will_answer(*[OPENING] * 200, STALL)

    reply = await ask(True)

    assert (reply.content, reply.headers["x-courier-attempts"]) == (STREAMED, "2")
