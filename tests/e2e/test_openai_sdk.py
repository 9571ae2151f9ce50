import base64
import contextlib
import json
import struct
import zlib

import httpx
import openai
import pydantic
import pytest

from tests.e2e import others
from tests.e2e.manifests import KEY, UPSTREAM_KEY, key, model

LIMITED = "e2e-limited-0123456789abcdef0123456789"
NARROW = "e2e-narrow-0123456789abcdef01234567890"
UNKNOWN = "e2e-unknown-0123456789abcdef0123456789"
HELLO = [{"role": "user", "content": "Say hello in one short sentence."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
        },
    },
}
ASK_WEATHER = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]
#: What the upstream answers, and what the client is told.
FAULTS = {
    400: openai.BadRequestError,
    401: openai.InternalServerError,
    403: openai.InternalServerError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
}


class Person(pydantic.BaseModel):
    name: str
    age: int


def png():
    """A small picture, as a data URL."""

    def chunk(tag, data):
        checksum = struct.pack(">I", zlib.crc32(tag + data))
        return struct.pack(">I", len(data)) + tag + data + checksum

    pixels = zlib.compress((b"\0" + b"\xff\0\0" * 16) * 16)
    image = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0))
    image += chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(image).decode()


def provider(name, url, secret=UPSTREAM_KEY):
    keys = [{"name": "first", "secret": secret}]
    return {"name": name, "kind": "openai_compatible", "base_url": url, "keys": keys}


def models_of(name, *upstream_models):
    """Models served under `name/…`, each by the upstream's model of that name."""
    return [
        model(f"{name}/{upstream}", routes=[{"provider": name, "upstream_model": upstream}])
        for upstream in upstream_models
    ]


MANIFEST = {
    "version": 1,
    "teams": [{"name": "research"}],
    "keys": [
        key(KEY, 0),
        key(LIMITED, 1, limits={"rpm": 1}),
        key(NARROW, 2, models=["elsewhere/*"]),
    ],
}


def failing(status):
    """A provider of its own for each fault: a key that is refused or at its limit is left alone."""
    return f"failing-{status}"


@pytest.fixture(scope="module")
def llmock():
    with others.llmock() as server:
        yield server


@pytest.fixture(scope="module")
def llmock_courier(launch, llmock):
    return launch(
        MANIFEST
        | {
            "providers": [
                provider(name, llmock.base_url("openai"))
                for name in ("llmock", *map(failing, FAULTS))
            ],
            "models": [
                *models_of("llmock", "gpt-4o", "text-embedding-3-small"),
                *(each for name in map(failing, FAULTS) for each in models_of(name, "gpt-4o")),
            ],
        }
    )


@pytest.fixture(scope="module")
def aimock_courier(launch, tmp_path_factory, pytestconfig):
    cache = pytestconfig.cache.mkdir("aimock")
    with others.aimock(tmp_path_factory.mktemp("aimock"), cache) as origin:
        names = ("gpt-4o", "text-embedding-3-small", "rate-limited", "broken-500", "slow",
                 "slow-stream", "small-context", "unauthorized-401", "dropped-stream",
                 "usage-exact")  # fmt: skip
        yield launch(
            MANIFEST
            | {
                "providers": [provider("aimock", f"{origin}/v1", others.AIMOCK_KEY)],
                "models": models_of("aimock", *names),
            }
        )


@pytest.fixture(params=["llmock", "aimock"])
def served(request):
    """A Courier before somebody else's upstream, and the prefix of its models there."""
    return request.getfixturevalue(f"{request.param}_courier"), request.param


@pytest.fixture
def client(served):
    courier, _ = served
    with client_of(courier) as client:
        yield client


def client_of(courier, api_key=KEY):
    return openai.OpenAI(
        base_url=courier.url,
        api_key=api_key,
        max_retries=0,
        timeout=30,
        http_client=httpx.Client(trust_env=False),
    )


@pytest.fixture
async def async_client(served):
    courier, _ = served
    http = httpx.AsyncClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=courier.url, api_key=KEY, max_retries=0, timeout=30, http_client=http
    ) as client:
        yield client


@pytest.fixture
def chat_model(served):
    return f"{served[1]}/gpt-4o"


@pytest.fixture
def embedding_model(served):
    return f"{served[1]}/text-embedding-3-small"


@pytest.fixture
def faults(llmock):
    """Adds faults to llmock's script, and drops those that were not played."""
    yield llmock.state.scenarios
    llmock.state.scenarios.clear()


@pytest.fixture
def llmock_client(llmock_courier):
    with client_of(llmock_courier) as client:
        yield client


def joined(chunks):
    """The text, the finish reason and the usage of a stream."""
    text, finish, usage = "", None, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return text, finish, usage


def called(chunks):
    """The name and the arguments of the one tool call in a stream."""
    name, arguments = "", ""
    for chunk in chunks:
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or []:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    return name, json.loads(arguments)


def test_a_chat_is_answered(client, chat_model):
    answer = client.chat.completions.create(model=chat_model, messages=HELLO)

    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_a_chat_is_answered_async(async_client, chat_model):
    answer = await async_client.chat.completions.create(model=chat_model, messages=HELLO)

    assert answer.choices[0].message.content


def test_a_stream_that_asks_for_no_usage_is_given_none(client, chat_model):
    chunks = list(client.chat.completions.create(model=chat_model, messages=HELLO, stream=True))

    text, finish, usage = joined(chunks)
    assert (bool(text), finish, usage) == (True, "stop", None)
    assert all(chunk.choices for chunk in chunks)


def test_a_stream_that_asks_for_usage_ends_with_it(client, chat_model):
    chunks = list(
        client.chat.completions.create(
            model=chat_model,
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_a_stream_arrives_async(async_client, chat_model):
    stream = await async_client.chat.completions.create(
        model=chat_model, messages=HELLO, stream=True
    )

    text, finish, _ = joined([chunk async for chunk in stream])
    assert (bool(text), finish) == (True, "stop")


def test_a_tool_is_called(client, chat_model):
    answer = client.chat.completions.create(model=chat_model, messages=ASK_WEATHER, tools=[WEATHER])

    [call] = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"]


def test_a_tool_is_called_in_a_stream(client, chat_model):
    chunks = client.chat.completions.create(
        model=chat_model, messages=ASK_WEATHER, tools=[WEATHER], stream=True
    )

    name, arguments = called(chunks)
    assert name == "get_weather"
    assert arguments["city"]


def test_a_tools_result_is_answered(client, chat_model):
    first = client.chat.completions.create(model=chat_model, messages=ASK_WEATHER, tools=[WEATHER])
    asked = first.choices[0].message
    result = {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": "21C, sunny"}

    answer = client.chat.completions.create(
        model=chat_model,
        messages=[*ASK_WEATHER, asked.model_dump(exclude_none=True), result],
        tools=[WEATHER],
    )

    assert answer.choices[0].message.content


def test_an_answer_follows_a_schema(client, chat_model):
    answer = client.chat.completions.parse(
        model=chat_model,
        messages=[{"role": "user", "content": "Give a person called Ada, aged 36, as JSON."}],
        response_format=Person,
    )

    assert isinstance(answer.choices[0].message.parsed, Person)


def test_a_picture_is_accepted(client, chat_model):
    picture = {"type": "image_url", "image_url": {"url": png(), "detail": "low"}}
    question = {"type": "text", "text": "Which color is this?"}

    answer = client.chat.completions.create(
        model=chat_model, messages=[{"role": "user", "content": [question, picture]}]
    )

    assert answer.choices[0].message.content


def test_embeddings_come_as_floats(client, embedding_model):
    answer = client.embeddings.create(
        model=embedding_model, input=["a cat", "a dog"], encoding_format="float"
    )

    assert [row.index for row in answer.data] == [0, 1]
    assert all(isinstance(number, float) for number in answer.data[0].embedding)


def test_embeddings_come_as_the_sdk_asks_by_itself(client, embedding_model):
    floats = client.embeddings.create(model=embedding_model, input="a cat", encoding_format="float")
    by_default = client.embeddings.create(model=embedding_model, input="a cat")

    assert by_default.data[0].embedding == pytest.approx(floats.data[0].embedding, abs=1e-3)


def test_embeddings_come_in_base64_for_who_asks(client, embedding_model):
    answer = client.embeddings.with_raw_response.create(
        model=embedding_model, input="a cat", encoding_format="base64"
    )

    [row] = json.loads(answer.content)["data"]
    assert len(base64.b64decode(row["embedding"], validate=True)) % 4 == 0


def test_models_are_listed(client, chat_model):
    models = client.models.list().data

    assert chat_model in [entry.id for entry in models]
    assert {entry.object for entry in models} == {"model"}


def test_a_model_whose_name_has_a_slash_is_retrieved(client, chat_model):
    assert client.models.retrieve(chat_model).id == chat_model


def test_a_stream_that_is_left_does_not_harm_the_next_request(client, chat_model):
    stream = client.chat.completions.create(model=chat_model, messages=HELLO, stream=True)
    next(stream)
    stream.close()

    assert client.chat.completions.create(model=chat_model, messages=HELLO).choices


async def test_a_stream_that_is_left_does_not_harm_the_next_request_async(async_client, chat_model):
    stream = await async_client.chat.completions.create(
        model=chat_model, messages=HELLO, stream=True
    )
    await anext(aiter(stream))
    await stream.close()

    answer = await async_client.chat.completions.create(model=chat_model, messages=HELLO)
    assert answer.choices


def test_an_unknown_key_is_an_authentication_error(served, chat_model):
    with client_of(served[0], UNKNOWN) as client, pytest.raises(openai.AuthenticationError) as told:
        client.chat.completions.create(model=chat_model, messages=HELLO)

    assert told.value.code == "invalid_api_key"


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_a_not_found_error(client, stream):
    with pytest.raises(openai.NotFoundError) as told:
        client.chat.completions.create(model="no/such", messages=HELLO, stream=stream)

    assert told.value.code == "model_not_found"


def test_an_unknown_model_is_not_retrieved(client):
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such")


def test_a_model_that_the_key_may_not_use_is_a_permission_error(served, chat_model):
    with (
        client_of(served[0], NARROW) as client,
        pytest.raises(openai.PermissionDeniedError) as told,
    ):
        client.chat.completions.create(model=chat_model, messages=HELLO)

    assert told.value.code == "model_not_allowed"


def test_a_request_without_messages_is_a_bad_request(client, chat_model):
    with pytest.raises(openai.BadRequestError) as told:
        client.post("/chat/completions", body={"model": chat_model}, cast_to=object)

    assert told.value.param == "messages"


def test_a_limit_is_a_rate_limit_error_that_says_when_to_return(served, chat_model):
    with client_of(served[0], LIMITED) as client:
        with contextlib.suppress(openai.RateLimitError):
            client.chat.completions.create(model=chat_model, messages=HELLO)
        with pytest.raises(openai.RateLimitError) as told:
            client.chat.completions.create(model=chat_model, messages=HELLO)

    assert told.value.code == "rate_limit_exceeded"
    assert float(told.value.response.headers["retry-after"]) > 0


@pytest.mark.parametrize(("status", "error"), FAULTS.items())
@pytest.mark.parametrize("stream", [False, True])
def test_the_upstreams_failure_is_an_error_of_the_right_class(
    llmock_client, faults, status, error, stream
):
    from llmock.scenarios import Fail

    faults.add(Fail(status, times=None))

    with pytest.raises(error) as told:
        llmock_client.chat.completions.create(
            model=f"{failing(status)}/gpt-4o", messages=HELLO, stream=stream
        )

    assert told.value.body["message"]


def test_a_client_that_waits_no_longer_gets_its_own_timeout(llmock_client, faults):
    from llmock.scenarios import Delay

    faults.add(Delay(3))

    with pytest.raises(openai.APITimeoutError):
        llmock_client.with_options(timeout=0.3).chat.completions.create(
            model="llmock/gpt-4o", messages=HELLO
        )

    assert llmock_client.chat.completions.create(model="llmock/gpt-4o", messages=HELLO).choices


@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
def test_a_stream_that_broke_is_never_taken_for_a_whole_one(llmock_client, faults, kind):
    from llmock.scenarios import StreamFault

    faults.add(StreamFault(kind, after_chunks=3))

    # A frame that is not JSON passes through as it is: the SDK says so in its own way.
    with pytest.raises((openai.APIError, json.JSONDecodeError)):
        joined(
            llmock_client.chat.completions.create(
                model="llmock/gpt-4o", messages=HELLO, stream=True
            )
        )


def test_usage_reaches_the_record_as_the_upstream_counted_it(aimock_courier):
    with client_of(aimock_courier) as client:
        answer = client.chat.completions.create(model="aimock/usage-exact", messages=HELLO)
    aimock_courier.settled()

    assert answer.usage.total_tokens == 1801
    columns = "model_asked, input_tokens, output_tokens, usage_source"
    assert ("aimock/usage-exact", 1234, 567, "provider") in aimock_courier.records(columns)


def test_a_prompt_too_long_for_the_model_is_a_bad_request(aimock_courier):
    with client_of(aimock_courier) as client, pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(model="aimock/small-context", messages=HELLO)

    assert told.value.code == "context_length_exceeded"
