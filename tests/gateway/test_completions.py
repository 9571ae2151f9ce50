"""Completions of a prompt, end to end: passed through, or talked about."""

import json

import openai
import pytest

from tests import factories
from tests.fakes.upstream import DONE, STREAM, completion, error_body, frame, usage_of
from tests.gateway.validators import openai_completions as validator

HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": "model"}


def text_chunk(text, finish=None):
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
    return frame({**HEAD, "choices": [choice]})


TEXT_USAGE = frame({**HEAD, "choices": [], "usage": usage_of()})
TEXT_STREAM = (text_chunk("Once"), text_chunk(" upon"), text_chunk("", "length"), TEXT_USAGE, DONE)


def whole(text="Once upon", **more):
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": "length"}
    return json.dumps({**HEAD, "choices": [choice], "usage": usage_of(), **more}).encode()


@pytest.fixture
def complete(courier, key):
    async def ask(*, key=key, **body):
        body = {"model": "tiny", "prompt": "Tell me", **body}
        return await courier.post("/v1/completions", body, key=key)

    return ask


@pytest.fixture
async def talker(courier, upstream):
    """A model of OpenAI's, which talks and does not complete."""

    def make():
        provider = factories.make_provider("talker", kind="openai", base_url=upstream.url)
        factories.make_upstream_key(provider)
        model = factories.make_model("talker")
        return factories.make_route(model, provider, upstream_model="gpt-4o")

    return await courier.make(make)


# Where the provider completes


async def test_a_whole_answer_is_passed_through(complete, upstream):
    upstream.will_answer(content := whole(tomorrow=1.50))

    reply = await complete(best_of=1, x=1)

    assert (reply.status, reply.content) == (200, content)
    sent = upstream.requests[0]
    assert (sent.path, sent["model"], sent["x"]) == ("/v1/completions", "alpha-tiny", 1)


async def test_a_stream_is_passed_through_without_the_usage_nobody_asked_for(complete, upstream):
    upstream.will_answer(*TEXT_STREAM)

    reply = await complete(stream=True)

    assert reply.content == b"".join(part for part in TEXT_STREAM if part != TEXT_USAGE)
    assert upstream.requests[0]["stream_options"] == {"include_usage": True}


async def test_a_stream_is_passed_through_with_the_usage_it_asked_for(complete, upstream):
    upstream.will_answer(*TEXT_STREAM)

    reply = await complete(stream=True, stream_options={"include_usage": True})

    assert reply.content == b"".join(TEXT_STREAM)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion_is_recorded_with_its_usage(complete, courier, upstream, stream):
    upstream.will_answer(*(TEXT_STREAM if stream else [whole()]))

    record = await courier.record((await complete(stream=stream)).request_id)

    assert (record.operation, record.streamed, record.usage_source) == (
        "completions",
        stream,
        "provider",
    )
    assert (record.input_tokens, record.output_tokens) == (7, 3)


@pytest.mark.parametrize("stream", [False, True])
async def test_missing_usage_is_counted(complete, courier, upstream, stream):
    body = json.loads(whole())
    del body["usage"]
    unmeasured = [part for part in TEXT_STREAM if part != TEXT_USAGE]
    upstream.will_answer(*(unmeasured if stream else [json.dumps(body).encode()]))

    record = await courier.record((await complete(stream=stream)).request_id)

    assert record.usage_source == "estimated"
    assert record.input_tokens > 0
    assert record.output_tokens > 0


@pytest.mark.parametrize("prompt", ["Hi", ["Hi", "there"], [1, 2], [[1, 2], [3]]])
async def test_every_form_of_prompt_is_passed_on(complete, upstream, prompt):
    upstream.will_answer(whole())

    assert (await complete(prompt=prompt)).status == 200
    assert upstream.requests[0]["prompt"] == prompt


@pytest.mark.parametrize("prompt", [None, 5, {}, [], [[]], [1.5], [None], ["x", 1]])
async def test_other_prompts_are_refused(complete, upstream, prompt):
    reply = await complete(prompt=prompt)

    assert (reply.status, reply.error["param"].split(".")[0]) == (400, "prompt")
    assert upstream.requests == []


async def test_another_attempt_is_made_where_one_fails(complete, upstream):
    upstream.will_answer(error_body(), status=503)
    upstream.will_answer(*TEXT_STREAM)

    reply = await complete(stream=True)

    assert (reply.status, reply.headers["x-courier-attempts"]) == (200, "2")


async def test_a_stream_that_breaks_off_says_so(complete, upstream):
    upstream.will_answer(*TEXT_STREAM[:2])

    reply = await complete(stream=True)

    assert reply.failure["code"] == "stream_interrupted"
    assert not validator.check(reply.content).complete


async def test_a_key_must_be_allowed_to(complete, courier):
    key = await courier.make(lambda: factories.make_key(allowed_endpoints=["chat"]))

    reply = await complete(key=key)

    assert (reply.status, reply.code) == (403, "endpoint_not_allowed")


async def test_a_limit_of_output_tokens_holds_what_a_request_allows(complete, courier, key):
    await courier.make(lambda: factories.make_limit(metric="output_tokens", amount=100, key=key))

    reply = await complete(max_tokens=60, n=2)

    assert reply.status == 429


# Where it only talks


async def test_a_prompt_is_said_where_the_model_talks(complete, upstream, talker):
    upstream.will_answer(completion("Once upon"))

    reply = await complete(model="talker", max_tokens=5, temperature=0.5)

    answer = validator.check_whole(reply.json)
    assert (answer.text, answer.finish, answer.usage["output_tokens"]) == ("Once upon", "stop", 3)
    sent = upstream.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent["messages"] == [{"role": "user", "content": "Tell me"}]
    assert (sent["max_completion_tokens"], sent["temperature"]) == (5, 0.5)


@pytest.mark.parametrize("asks", [False, True])
async def test_a_stream_is_written_anew_where_the_model_talks(complete, upstream, talker, asks):
    upstream.will_answer(*STREAM)
    options = {"stream_options": {"include_usage": True}} if asks else {}

    reply = await complete(model="talker", stream=True, **options)

    answer = validator.check(reply.content)
    assert (answer.text, answer.finish, bool(answer.usage)) == ("Hello there.", "stop", asks)


async def test_what_a_talking_model_has_no_place_for_is_announced(complete, upstream, talker):
    upstream.will_answer(completion())

    reply = await complete(model="talker", suffix="The end.", best_of=3, echo=False)

    assert reply.headers["x-courier-dropped-params"] == "suffix, best_of"


@pytest.mark.parametrize("prompt", [["Hi", "there"], [1, 2], [[1, 2]]])
async def test_a_talking_model_is_told_one_prompt_in_words(complete, upstream, talker, prompt):
    reply = await complete(model="talker", prompt=prompt)

    assert (reply.status, reply.error["param"]) == (400, "prompt")
    assert upstream.requests == []


async def test_a_prompt_in_a_list_of_one_is_one_prompt(complete, upstream, talker):
    upstream.will_answer(completion())

    assert (await complete(model="talker", prompt=["Hi"])).status == 200


@pytest.mark.parametrize("model", ["gpt-3.5-turbo-instruct", "ft:davinci-002:acme::1"])
async def test_openais_models_that_complete_do(complete, courier, upstream, talker, model):
    def rename():
        talker.upstream_model = model
        talker.save()

    await courier.make(rename)
    upstream.will_answer(whole())

    assert (await complete(model="talker")).status == 200
    assert upstream.requests[0].path == "/v1/completions"


async def test_the_official_sdk_streams_a_completion(courier, upstream, key, talker):
    upstream.will_answer(*STREAM)
    base_url = f"http://127.0.0.1:{courier.port}/v1"
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key.secret) as client:
        stream = await client.completions.create(model="talker", prompt="Hi", stream=True)
        chunks = [chunk async for chunk in stream]

    assert "".join(chunk.choices[0].text for chunk in chunks) == "Hello there."
    assert chunks[-1].choices[0].finish_reason == "stop"
