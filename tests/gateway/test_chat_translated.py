"""Chat completions of a provider that speaks another format, end to end."""

import json

import openai
import pytest

from tests import factories
from tests.fakes.upstream import HEARD
from tests.gateway.conftest import HELLO
from tests.gateway.validators import openai_chat as validator

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SIGNATURE = "EqQBCkYIBRgCIkDsig=="


def event(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def block(index, kind, *deltas, **content):
    start = {"type": kind, **content}
    yield event("content_block_start", index=index, content_block=start)
    for delta in deltas:
        yield event("content_block_delta", index=index, delta=delta)
    yield event("content_block_stop", index=index)


START = event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "claude-sonnet-4-5",
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5},
    },
)
END = [
    event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 7}),
    event("message_stop"),
]
STREAM = [
    START,
    *block(
        0,
        "thinking",
        {"type": "thinking_delta", "thinking": "I should look."},
        {"type": "signature_delta", "signature": SIGNATURE},
        thinking="",
        signature="",
    ),
    *block(1, "text", {"type": "text_delta", "text": "Let me look."}, text=""),
    *block(
        2,
        "tool_use",
        {"type": "input_json_delta", "partial_json": '{"at":"it"}'},
        id="toolu_1",
        name="look",
        input={},
    ),
    *END,
]


@pytest.fixture
async def thinker(courier, upstream):
    """A model of Anthropic's behind the scripted upstream."""

    def make():
        provider = factories.make_provider("thinker", kind="anthropic", base_url=upstream.url)
        factories.make_upstream_key(provider)
        model = factories.make_model("thinker")
        factories.make_route(model, provider, upstream_model="claude-sonnet-4-5")

    await courier.make(make)


async def test_a_stream_is_a_well_formed_chat_completion(chat, upstream, thinker):
    upstream.will_answer(*STREAM)

    reply = await chat(model="thinker", stream=True, stream_options={"include_usage": True})

    answer = validator.check(reply.content)
    assert (answer.text, answer.thinking, answer.finish) == (
        "Let me look.",
        "I should look.",
        "tool_calls",
    )
    assert answer.usage == {"input_tokens": 15, "cached_input_tokens": 5, "output_tokens": 7}


@pytest.mark.parametrize("size", [1, 100])
async def test_it_is_the_same_however_the_network_cuts_it(chat, upstream, thinker, size):
    whole = b"".join(STREAM)
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    upstream.will_answer(*pieces, headers={"content-type": "text/event-stream"})

    answer = validator.check((await chat(model="thinker", stream=True)).content)

    assert (answer.text, answer.tool_calls[0]["arguments"]) == ("Let me look.", {"at": "it"})


async def test_it_is_recorded_with_its_usage(chat, courier, upstream, thinker):
    upstream.will_answer(*STREAM)

    record = await courier.record((await chat(model="thinker", stream=True)).request_id)

    assert (record.operation, record.usage_source, record.output_tokens) == ("chat", "provider", 7)


async def test_a_signature_survives_a_turn_of_the_official_sdk(courier, upstream, key, thinker):
    upstream.will_answer(*STREAM)
    upstream.will_answer(START, *block(0, "text", text="Done."), *END)
    base_url = f"http://127.0.0.1:{courier.port}/v1"
    asked = {"model": "thinker", "tools": [TOOL], "messages": [HELLO]}
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key.secret) as client:
        async with client.chat.completions.stream(**asked) as stream:
            message = (await stream.get_final_completion()).choices[0].message
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "There."}
        asked["messages"] = [HELLO, message.to_dict(), result]
        async with client.chat.completions.stream(**asked) as stream:
            await stream.until_done()

    _, assistant, answer = upstream.requests[1]["messages"]
    assert assistant["content"][0] == {
        "type": "thinking",
        "thinking": "I should look.",
        "signature": SIGNATURE,
    }
    assert [part["type"] for part in assistant["content"]] == ["thinking", "text", "tool_use"]
    assert answer["content"][0]["tool_use_id"] == "toolu_1"


async def test_an_error_in_mid_stream_is_told_in_the_clients_format(chat, upstream, thinker):
    error = {"type": "overloaded_error", "message": "Overloaded."}
    text = block(0, "text", {"type": "text_delta", "text": "Let me"}, text="")
    upstream.will_answer(START, *list(text)[:2], HEARD, event("error", error=error))

    reply = await chat(model="thinker", stream=True)

    assert reply.failure["code"] == "stream_interrupted"
    assert not validator.check(reply.content).complete


async def test_what_has_no_place_is_announced(chat, upstream, thinker):
    upstream.will_answer(*STREAM)

    reply = await chat(model="thinker", stream=True, seed=5, prediction={"type": "content"})

    assert set(reply.headers["x-courier-dropped-params"].split(", ")) == {"seed", "prediction"}


async def test_a_field_that_cannot_be_understood_is_named(chat, upstream, thinker):
    reply = await chat(model="thinker", messages=[{"role": "user", "content": [{"type": "x"}]}])

    assert (reply.status, reply.error["param"]) == (400, "messages.0.content.0.type")
    assert upstream.requests == []


async def test_clients_of_functions_are_answered_with_a_function(chat, upstream, thinker):
    upstream.will_answer(*STREAM)

    reply = await chat(model="thinker", stream=True, functions=[{"name": "look"}])

    chunks = [json.loads(data) for data in reply.data[:-1]]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    said = [delta["function_call"] for delta in deltas if "function_call" in delta]
    assert said == [{"name": "look", "arguments": ""}, {"arguments": '{"at":"it"}'}]
    assert upstream.requests[0]["tools"][0]["name"] == "look"
