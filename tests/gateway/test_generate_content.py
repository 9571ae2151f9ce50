"""Google's generateContent, end to end, at an upstream that speaks it and at one that does not."""

import json
import re

import pytest

from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import CUT, HEARD, STALL, completion, error_body, frame
from tests.gateway.conftest import until
from tests.gateway.targets import SECRET

HELLO = {"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}
USAGE = {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}


def answer(*parts, finish=None, **more):
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "m-1", "responseId": "r1", **more}


def whole(*parts, finish="STOP", usage=USAGE):
    return json.dumps(answer(*parts, finish=finish, usageMetadata=usage)).encode()


HI = frame(answer({"text": "Hello"}, usageMetadata={"promptTokenCount": 7}))
END = frame(answer({"text": " there."}, finish="STOP", usageMetadata=USAGE))


@pytest.fixture
def google(transactional_db, upstream):
    """A provider that speaks Google's format: the scripted upstream."""
    provider = factories.make_provider("google", kind="gemini", base_url=upstream.url)
    factories.make_upstream_key(provider)
    return provider


@pytest.fixture
def pro(google):
    model = factories.make_model("pro", description="Thinks.")
    factories.make_route(model, google, upstream_model="pro-1")
    factories.make_price(model, input="0.15", output="0.6")
    return model


@pytest.fixture
def generate(pro, courier, key):
    """Ask the model `pro`, or another."""

    async def ask(model="pro", method="generateContent", *, under="v1beta", key=key, **body):
        path = f"http://127.0.0.1:{courier.port}/{under}/models/{model}:{method}"
        headers = {"x-goog-api-key": key.secret}
        return await courier.post(path, {**HELLO, **body}, headers=headers)

    return ask


@pytest.fixture
def stream(generate):
    async def ask(model="pro", **body):
        return await generate(model, "streamGenerateContent?alt=sse", **body)

    return ask


# Both ends speak Google's format


@pytest.mark.parametrize("under", ["v1", "v1beta", "/v1beta", "/v1"])
async def test_a_whole_answer_reaches_the_client_unchanged(generate, upstream, under):
    content = whole({"text": "Hi.", "tomorrow": 1.50}).replace(b":", b" :\n")
    upstream.will_answer(content)

    reply = await generate(under=under)

    assert (reply.status, reply.content) == (200, content)
    sent = upstream.requests[0]
    assert (sent.path, sent.body) == (
        "/v1/models/pro-1:generateContent",
        json.dumps(HELLO).encode(),
    )
    assert sent.headers["x-goog-api-key"]
    assert "authorization" not in sent.headers


async def test_a_stream_reaches_the_client_unchanged(stream, upstream):
    upstream.will_answer(HI, END)

    reply = await stream()

    assert (reply.status, reply.content) == (200, HI + END)
    assert upstream.requests[0].path == "/v1/models/pro-1:streamGenerateContent?alt=sse"


@pytest.mark.parametrize("streams", [True, False])
async def test_an_answer_is_recorded_with_what_google_reports(
    generate, stream, upstream, courier, streams
):
    upstream.will_answer(*([HI, END] if streams else [whole({"text": "Hi."})]))

    record = await courier.record((await (stream if streams else generate)()).request_id)

    assert (record.outcome, record.end_reason, record.status) == ("ok", "complete", 200)
    assert (record.operation, record.streamed) == ("generate_content", streams)
    assert (record.model_asked, record.upstream_model) == ("pro", "pro-1")
    assert (record.input_tokens, record.output_tokens, record.usage_source) == (7, 3, "provider")
    assert record.cost_nano == 7 * 150 + 3 * 600


async def test_a_stream_without_a_finish_reason_was_cut(stream, upstream, courier):
    upstream.will_answer(HI, headers={"content-type": "text/event-stream"})

    reply = await stream()

    assert reply.failure["status"] == "UNAVAILABLE"
    assert (await courier.record(reply.request_id)).end_reason == "upstream_cut"


async def test_what_was_said_before_a_cut_is_counted_if_google_has_not(stream, upstream, courier):
    upstream.will_answer(HI, CUT)

    record = await courier.record((await stream()).request_id)

    assert (record.usage_source, record.output_tokens > 0) == ("estimated", True)


async def test_an_error_inside_a_stream_is_the_last_event(stream, upstream):
    failure = frame({"error": {"code": 503, "status": "UNAVAILABLE"}})
    upstream.will_answer(HI, HEARD, failure)

    reply = await stream()

    assert reply.data[0] == HI[6:-2]
    assert reply.data[-1].startswith(b'{"error":{"code":502,')


async def test_before_any_output_an_error_leads_to_another_try(stream, upstream):
    upstream.will_answer(frame({"error": {"code": 503, "status": "UNAVAILABLE"}}))
    upstream.will_answer(HI, END)

    reply = await stream()

    assert (reply.content, reply.headers["x-courier-attempts"]) == (HI + END, "2")


async def test_a_client_that_leaves_is_recorded(pro, courier, key, upstream):
    upstream.will_answer(HI, STALL)
    path = "/v1beta/models/pro:streamGenerateContent?alt=sse"

    async with Call(courier, key=key.secret, path=path, **HELLO) as call:
        await call.read_head()
        await call.read_piece()

    await until(lambda: upstream.departures)
    record = await courier.last_record()
    assert (record.outcome, record.output_tokens > 0) == ("client_disconnected", True)


# Admission


async def test_a_key_may_stand_in_either_header(pro, courier, key, upstream):
    upstream.always(whole({"text": "Hi."}))

    reply = await courier.post("/v1beta/models/pro:generateContent", HELLO, key=key)

    assert reply.status == 200


async def test_a_key_in_the_url_is_refused_and_not_repeated(pro, courier, key, upstream):
    reply = await courier.post(f"/v1beta/models/pro:generateContent?key={key.secret}", HELLO)

    assert (reply.status, reply.error["status"]) == (401, "UNAUTHENTICATED")
    assert "x-goog-api-key" in reply.error["message"]
    assert key.secret.encode() not in reply.content
    assert not upstream.requests


async def test_a_bad_key_is_refused_in_googles_shape(pro, courier):
    headers = {"x-goog-api-key": "sk-nobody"}
    reply = await courier.post("/v1beta/models/pro:generateContent", HELLO, headers=headers)

    assert (reply.status, reply.error["code"], reply.error["status"]) == (
        401,
        401,
        "UNAUTHENTICATED",
    )
    assert reply.error["details"][0]["reason"] == "INVALID_API_KEY"


@pytest.mark.parametrize("method", ["generateContent", "countTokens"])
async def test_a_key_that_may_not_generate_content_is_refused(generate, courier, team, method):
    key = await courier.make(lambda: factories.make_key(team, allowed_endpoints=["chat"]))

    reply = await generate(method=method, key=key)

    assert (reply.status, reply.error["status"]) == (403, "PERMISSION_DENIED")


async def test_a_limit_is_told_with_the_time_to_wait(generate, courier, key, upstream):
    upstream.always(whole({"text": "Hi."}))
    await courier.make(lambda: factories.make_limit(key=key, metric="requests", amount=1))
    await generate()

    reply = await generate()

    assert (reply.status, reply.error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert reply.error["details"][-1]["retryDelay"].endswith("s")


async def test_a_model_that_is_not_there_is_not_found(generate):
    reply = await generate("nothing")

    assert (reply.status, reply.error["status"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("under", ["v1", "v1beta"])
async def test_a_method_that_is_not_there_is_not_found(generate, under):
    reply = await generate(method="predictNothing", under=under)

    assert (reply.status, reply.error["status"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("body", [{"contents": []}, {"contents": "Hi"}, {"contents": None}])
async def test_contents_that_cannot_be_read_are_refused(generate, upstream, body):
    reply = await generate(**body)

    assert (reply.status, reply.error["status"]) == (400, "INVALID_ARGUMENT")
    assert reply.error["details"][1]["fieldViolations"][0]["field"].startswith("contents")
    assert not upstream.requests


async def test_the_name_of_a_model_may_hold_slashes_and_colons(courier, google, key, upstream):
    await courier.make(lambda: factories.make_model("org/pro:8b", google))
    upstream.always(whole({"text": "Hi."}))

    for under in ("v1", "v1beta"):
        path = f"/{under}/models/org/pro:8b:generateContent"
        assert (await courier.post(path, HELLO, key=key)).status == 200


async def test_a_tuned_model_has_its_own_collection(courier, google, key, upstream):
    await courier.make(
        lambda: factories.make_route(
            factories.make_model("tunedModels/mine"), google, upstream_model="tunedModels/mine-1"
        )
    )
    upstream.always(whole({"text": "Hi."}))

    assert (
        await courier.post("/v1beta/tunedModels/mine:generateContent", HELLO, key=key)
    ).status == 200
    assert upstream.requests[0].path == "/v1/tunedModels/mine-1:generateContent"


async def test_a_stream_ends_cleanly_where_the_budget_does(stream, upstream, courier, key):
    await courier.make(lambda: factories.make_budget(key=key, amount="0.0026"))
    burst = frame(answer({"text": "word " * 20_000}))
    upstream.will_answer(HI, HEARD, burst, burst, STALL)

    reply = await stream()

    last = json.loads(reply.data[-1])
    assert last["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert last["candidates"][0]["finishMessage"] == "budget_exceeded"
    assert last["usageMetadata"]["candidatesTokenCount"] > 0
    assert (await courier.record(reply.request_id)).outcome == "budget_exceeded"


# Errors of Google's


async def test_a_key_of_couriers_that_google_refuses_is_not_the_clients_fault(generate, upstream):
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    error = {"code": 400, "message": f"API key not valid: {SECRET}", "status": "INVALID_ARGUMENT"}
    upstream.always(json.dumps({"error": {**error, "details": details}}).encode(), status=400)

    reply = await generate()

    assert (reply.status, reply.error["status"]) == (502, "UNAVAILABLE")
    assert SECRET not in reply.error["message"]


async def test_a_refusal_of_the_request_reaches_the_client_in_googles_words(generate, upstream):
    error = {"code": 400, "message": "Too many tokens.", "status": "INVALID_ARGUMENT"}
    upstream.will_answer(json.dumps({"error": error}).encode(), status=400)

    reply = await generate()

    assert (reply.status, reply.error["message"][:16]) == (400, "Too many tokens.")


# Between Google's clients and others' upstreams


async def test_an_upstream_of_another_format_is_asked_in_its_own(generate, upstream):
    upstream.will_answer(completion("Hi."))

    reply = await generate("tiny", generationConfig={"maxOutputTokens": 5}, safetySettings=[{}])

    sent = upstream.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent["messages"] == [{"role": "user", "content": "Say hello."}]
    assert reply.json["candidates"][0]["content"]["parts"] == [{"text": "Hi."}]
    assert reply.json["candidates"][0]["finishReason"] == "STOP"
    assert reply.json["usageMetadata"]["promptTokenCount"] == 7
    assert reply.headers["x-courier-dropped-params"] == "safetySettings"


async def test_a_client_of_another_format_is_answered_in_its_own(pro, chat, upstream):
    upstream.will_answer(whole({"text": "Hi."}))

    reply = await chat(model="pro")

    assert upstream.requests[0]["contents"] == HELLO["contents"]
    assert reply.json["choices"][0]["message"]["content"] == "Hi."
    assert reply.json["usage"]["prompt_tokens"] == 7


async def test_a_stream_of_googles_reaches_a_client_of_another_format(pro, chat, upstream):
    upstream.will_answer(HI, END)

    reply = await chat(model="pro", stream=True)

    words = [json.loads(data)["choices"] for data in reply.data[:-1]]
    assert "".join(c[0]["delta"].get("content") or "" for c in words if c) == "Hello there."
    assert reply.data[-1] == b"[DONE]"


async def test_an_upstream_of_another_format_is_asked_for_a_stream(stream, upstream):
    reply = await stream("tiny")

    assert upstream.requests[0]["stream"] is True
    events = [json.loads(data)["candidates"][0] for data in reply.data]
    texts = [part["text"] for event in events for part in event["content"]["parts"]]
    assert "".join(texts) == "Hello there."
    assert events[-1]["finishReason"] == "STOP"


async def test_another_route_is_tried(generate, upstream):
    upstream.will_answer(error_body(), status=503)
    upstream.will_answer(whole({"text": "Hi."}))

    assert (await generate()).headers["x-courier-attempts"] == "2"


# Tokens, models


async def test_tokens_are_counted_offline_and_nothing_is_charged(generate, upstream, courier):
    reply = await generate(method="countTokens")

    assert (reply.status, reply.json["totalTokens"] > 2) == (200, True)
    assert not upstream.requests


async def test_instructions_and_tools_are_counted_too(generate):
    few = await generate(method="countTokens")
    request = {**HELLO, "systemInstruction": {"parts": [{"text": "Be brief, and be polite."}]}}
    many = await generate(method="countTokens", generateContentRequest=request)

    assert many.json["totalTokens"] > few.json["totalTokens"]


async def test_models_are_listed_in_googles_shape(pro, courier, key):
    reply = await courier.request("GET", "/v1beta/models", key=key)

    listed = {model["name"]: model for model in reply.json["models"]}
    assert listed.keys() == {"models/pro", "models/tiny", "models/small"}
    assert listed["models/pro"]["description"] == "Thinks."
    assert "generateContent" in listed["models/pro"]["supportedGenerationMethods"]


async def test_one_model_is_described(pro, courier, key):
    reply = await courier.request("GET", "/v1beta/models/pro", key=key)

    assert reply.json["name"] == "models/pro"


async def test_googles_clients_are_known_by_their_header_under_v1_too(pro, courier, key):
    headers = {"x-goog-api-key": key.secret}
    listed = await courier.request("GET", "/v1/models", headers=headers)
    one = await courier.request("GET", "/v1/models/pro", headers=headers)

    assert "models/pro" in [model["name"] for model in listed.json["models"]]
    assert one.json["displayName"] == "pro"


async def test_a_model_unknown_is_not_found_in_googles_shape(pro, courier, key):
    reply = await courier.request("GET", "/v1beta/models/none", key=key)

    assert (reply.status, reply.error["status"]) == (404, "NOT_FOUND")


async def test_the_models_of_openais_clients_stay_where_they_are(pro, courier, key):
    assert (await courier.request("GET", "/v1/models/pro", key=key)).json["object"] == "model"


# Without alt=sse


async def test_a_stream_may_be_one_array(generate, upstream):
    upstream.will_answer(HI, HEARD, END)

    reply = await generate(method="streamGenerateContent")

    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert reply.json == [json.loads(HI[6:]), json.loads(END[6:])]


async def test_an_array_that_breaks_ends_with_the_error(generate, upstream):
    upstream.will_answer(HI, CUT)

    reply = await generate(method="streamGenerateContent")

    assert [list(each)[0] for each in reply.json] == ["candidates", "error"]


async def test_what_fails_before_an_array_begins_is_no_array(generate, upstream):
    upstream.will_answer(b'{"error": {"message": "No."}}', status=400)

    reply = await generate(method="streamGenerateContent")

    assert (reply.status, reply.error["code"]) == (400, 400)


@pytest.mark.parametrize(
    ("method", "silence"),
    [("streamGenerateContent", rb"\}\n+,"), ("streamGenerateContent?alt=sse", rb"\}\n{3,}data:")],
)
async def test_a_silence_is_broken_by_white_space(generate, upstream, settings, method, silence):
    settings.COURIER_KEEP_ALIVE_S = 0.1
    upstream.will_answer(HI, *[HEARD] * 5, END)

    reply = await generate(method=method)

    assert re.search(silence, reply.content)
    assert b"keep-alive" not in reply.content
