"""A provider that is described by its options, as clients and as the upstream see it."""

import json

import pytest

from gateway import errors
from gateway.canonical import (
    ChatRequest,
    Media,
    Message,
    Reasoning,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.base import Drops
from gateway.dialects.generic import GenericChat
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.errors import UnsupportedParameter
from gateway.kinds import provider_of
from gateway.providers.base import Message as Outgoing
from registry.generic import examples, options_from
from tests import factories
from tests.gateway.targets import SECRET, make_target

generic = provider_of("generic")
EXAMPLES = {example.name: example.options for example in examples()}
PLAIN = {
    "request": {
        "path": "/say",
        "headers": {"x-key": "{{api_key}}", "x-model": "{{model}}"},
        "body": {
            "model": "{{model}}",
            "input": "{{messages}}",
            "limit": "{{max_tokens}}",
            "live": "{{stream}}",
        },
    },
    "response": {
        "text": "said",
        "finish": "why",
        "finish_map": {"full": "length"},
        "usage": {"input": "read", "output": "written"},
        "error": "problem.text",
    },
}


def user(*parts):
    return Message("user", [Text(part) if isinstance(part, str) else part for part in parts])


def asked(options, *messages, drops=None, **fields):
    """The body for a request, and nothing that it has no place for unless `drops` are given."""
    given = drops or Drops(refuses=False)
    request = ChatRequest(list(messages) or [user("Hi.")], **fields)
    target = make_target(kind="generic", options=options)
    body = GenericChat(options_from(options)).write_request(request, target, given)
    if drops is None:
        assert given.names == []
    return body


def dropped(options, *messages, **fields):
    drops = Drops(refuses=False)
    asked(options, *messages, drops=drops, **fields)
    return drops.names


# What is asked


def test_the_template_is_filled_in_and_what_is_not_given_is_left_out():
    assert asked(PLAIN) == {
        "model": "model-1",
        "input": [{"role": "user", "content": "Hi."}],
        "live": False,
    }


def test_a_vendor_that_does_not_stream_is_never_asked_to():
    assert asked(PLAIN, stream=True)["live"] is False


CALLED = (
    Message("system", [Text("Be brief.")]),
    user("How is it?"),
    Message("assistant", [Text("Let me see."), ToolCall("c1", "weather", '{"city":"Bern"}')]),
    Message("user", [ToolResult("c1", [Text("Rain.")]), Text("Well?")]),
)


def test_messages_are_written_as_the_template_says():
    told = asked(PLAIN, *CALLED)["input"]

    function = {"name": "weather", "arguments": '{"city":"Bern"}'}
    assert told == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How is it?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [{"id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "Rain.", "tool_call_id": "c1"},
        {"role": "user", "content": "Well?"},
    ]


def test_calls_can_have_objects_and_results_the_names_of_their_tools():
    told = asked(EXAMPLES["ollama-chat"], *CALLED)["messages"]

    assert told[2]["tool_calls"] == [
        {"function": {"name": "weather", "arguments": {"city": "Bern"}}}
    ]
    assert told[3] == {"role": "tool", "content": "Rain.", "tool_name": "weather"}


def test_images_can_stand_beside_the_text():
    image = Media("image", "image/png", data="QUJD")

    (told,) = asked(EXAMPLES["ollama-chat"], user("What?", image))["messages"]

    assert told == {"role": "user", "content": "What?", "images": ["QUJD"]}


def test_images_can_be_pieces_of_the_content():
    image = Media("image", "image/png", data="QUJD")

    (told,) = asked(EXAMPLES["cohere-v2-chat"], user("What?", image))["messages"]

    assert told["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
    ]


def test_a_conversation_can_be_one_text():
    body = asked(EXAMPLES["tgi-generate"], Message("system", [Text("Be brief.")]), user("Hi."))

    assert body["inputs"] == "system: Be brief.\nuser: Hi.\nassistant:"


def test_instructions_can_be_apart():
    options = json.loads(json.dumps(PLAIN))
    options["request"]["body"]["instructions"] = "{{system}}"

    body = asked(options, *CALLED[:2])

    assert body["instructions"] == "Be brief."
    assert [message["role"] for message in body["input"]] == ["user"]


def test_a_schema_is_sent_only_where_there_is_one():
    form = ResponseFormat("json_schema", schema={"type": "object"})
    options = EXAMPLES["cohere-v2-chat"]

    assert asked(options, response_format=form)["response_format"] == {
        "type": "json_object",
        "json_schema": {"type": "object"},
    }
    assert "response_format" not in asked(options)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"top_p": 0.5}, "top_p"),
        ({"top_k": 5}, "top_k"),
        ({"stop": ["x"]}, "stop"),
        ({"seed": 0}, "seed"),
        ({"user": "u"}, "user"),
        ({"tools": [Tool("weather")]}, "tools"),
        ({"tool_choice": ToolChoice("auto")}, "tool_choice"),
        ({"response_format": ResponseFormat("json_schema")}, "response_format"),
        ({"response_format": ResponseFormat("json_object")}, "response_format"),
        ({"reasoning": Reasoning(effort="low")}, "reasoning_effort"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"parallel_tools": False}, "parallel_tool_calls"),
    ],
)
def test_what_the_template_does_not_ask_for_is_announced(fields, name):
    assert dropped(PLAIN, **fields) == [name]


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (user(Media("image", "image/png", data="QUJD")), "image_url"),
        (user(Media("document", "application/pdf", data="QUJD")), "file"),
        (Message("user", [Text("Hi.")], name="ann"), "name"),
    ],
)
def test_what_a_message_has_no_place_for_is_announced(message, name):
    assert dropped(PLAIN, message) == [name]


def test_calls_in_a_text_are_announced():
    assert "messages" in dropped(EXAMPLES["tgi-generate"], *CALLED)


def test_what_has_no_place_is_refused_where_that_is_asked_for():
    with pytest.raises(UnsupportedParameter):
        asked(PLAIN, drops=Drops(refuses=True), seed=1)


def test_the_words_of_a_client_are_never_a_template():
    body = asked(PLAIN, user("{{model}} {{api_key}}"))

    assert body["input"][0]["content"] == "{{model}} {{api_key}}"


# The provider


def target_of(options, **fields):
    return make_target(kind="generic", options=options, **fields)


def request_of(options, *, streams=False, **fields):
    target = target_of(options, **fields)
    dialect = generic.dialect_for(openai_chat, target)
    return generic.request(target, Outgoing(dialect, b"{}", streams))


def test_headers_are_those_of_the_description():
    headers = request_of(PLAIN, upstream_model="org/m:1\r\nx: y").headers

    assert headers["x-key"] == SECRET
    assert headers["x-model"] == "org/m:1%0D%0Ax:%20y"
    assert "authorization" not in headers


def test_without_a_description_of_headers_the_key_is_a_bearer_token():
    assert request_of(EXAMPLES["ollama-chat"]).headers["authorization"] == f"Bearer {SECRET}"


def test_a_header_without_its_key_is_left_out():
    assert "x-key" not in request_of(PLAIN, api_key="").headers


def test_a_stream_can_have_a_path_of_its_own():
    options = EXAMPLES["tgi-generate"]

    assert request_of(options).url.endswith("/v1/generate")
    assert request_of(options, streams=True).url.endswith("/v1/generate_stream")


def test_the_name_of_a_model_stays_one_part_of_the_path():
    options = json.loads(json.dumps(PLAIN))
    options["request"]["path"] = "/m/{{model}}/say"

    url = request_of(options, upstream_model="a/../b?c").url

    assert url.endswith("/v1/m/a%2F..%2Fb%3Fc/say")


def test_only_conversations_are_described():
    assert generic.dialect_for(openai_embeddings, target_of(PLAIN)) is None


def test_the_same_description_is_read_once():
    first = generic.dialect_for(openai_chat, target_of(dict(PLAIN)))

    assert generic.dialect_for(openai_chat, target_of(dict(PLAIN))) is first


@pytest.mark.parametrize("options", [{}, {"request": {}}, {"x": 1}])
def test_a_description_that_is_unsound_serves_nobody(options):
    with pytest.raises(errors.NoAvailableTarget) as raised:
        generic.dialect_for(openai_chat, target_of(options))
    assert "cannot be used" in raised.value.message


def test_a_refusal_is_told_in_the_words_that_the_description_points_at():
    content = b'{"problem": {"text": "Too long."}}'

    assert generic.error(target_of(PLAIN), 400, {}, content).message == "Too long."
    quoted = b'{"problem": {"text": "The key ' + SECRET.encode() + b' is bad."}}'
    assert SECRET not in generic.error(target_of(PLAIN), 400, {}, quoted).message


# Through all of Courier


@pytest.fixture
def described(courier, upstream):
    """Make a model `told` whose only provider has these options."""

    async def make(options):
        def rows():
            provider = factories.make_provider(
                kind="generic", base_url=upstream.url, options=options
            )
            provider.full_clean()
            factories.make_upstream_key(provider)
            model = factories.make_model("told")
            factories.make_route(model, provider, upstream_model="m-1")
            factories.make_price(model, input="1", output="2")

        await courier.make(rows)

    return make


WHOLE = json.dumps({"said": "Hello there.", "why": "full", "read": 5, "written": 3}).encode()


async def test_a_whole_answer_is_told_in_the_clients_format(chat, upstream, described):
    await described(PLAIN)
    upstream.will_answer(WHOLE)

    reply = await chat(model="told", max_tokens=9)

    assert reply.json["choices"][0]["message"]["content"] == "Hello there."
    assert reply.json["choices"][0]["finish_reason"] == "length"
    assert reply.json["usage"]["prompt_tokens"] == 5
    assert upstream.requests[-1].json["limit"] == 9


async def test_a_client_gets_a_stream_of_what_came_in_one_piece(chat, upstream, described, courier):
    await described(PLAIN)
    upstream.will_answer(WHOLE)

    reply = await chat(model="told", stream=True, stream_options={"include_usage": True})

    chunks = [json.loads(data) for data in reply.data[:-1]]
    words = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(filter(None, words)) == "Hello there."
    assert reply.data[-1] == b"[DONE]"
    assert chunks[-1]["usage"]["completion_tokens"] == 3
    assert (await courier.last_record()).outcome == "ok"


async def test_an_answer_in_one_piece_that_breaks_off_is_no_answer(chat, upstream, described):
    await described(PLAIN)
    upstream.will_answer(WHOLE[:-9])
    upstream.will_answer(WHOLE[:-9])
    upstream.will_answer(WHOLE[:-9])

    reply = await chat(model="told", stream=True)

    assert reply.status == 503


async def test_lines_are_a_stream(chat, upstream, described):
    await described(EXAMPLES["ollama-chat"])
    lines = [
        b'{"message": {"content": "Hel"}, "done": false}\n{"message": {"cont',
        b'ent": "lo."}, "done": false}\n',
        b'{"message": {"content": ""}, "done_reason": "stop", "done": true}\n',
    ]
    upstream.will_answer(*lines, headers={"content-type": "application/x-ndjson"})

    reply = await chat(model="told", stream=True)

    chunks = [json.loads(data) for data in reply.data[:-1]]
    words = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(filter(None, words)) == "Hello."
    assert upstream.requests[-1].json["stream"] is True


async def test_what_was_left_out_is_told_in_a_header(chat, upstream, described):
    await described(PLAIN)
    upstream.will_answer(WHOLE)

    reply = await chat(model="told", seed=7)

    assert reply.headers["x-courier-dropped-params"] == "seed"


async def test_an_error_with_status_200_is_one(chat, upstream, described):
    await described(PLAIN)
    for _ in range(3):
        upstream.will_answer(b'{"problem": {"text": "Overloaded."}}')

    reply = await chat(model="told")

    assert reply.status == 503
    assert "Overloaded" not in reply.error["message"]
