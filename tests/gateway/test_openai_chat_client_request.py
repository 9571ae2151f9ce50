"""What is read of a request for a chat completion."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.canonical import (
    ChatRequest,
    Media,
    Message,
    Reasoning,
    Refusal,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    signed_id,
)
from gateway.dialects.openai_chat import openai_chat
from gateway.errors import BadRequest

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def asked(*messages, **body):
    messages = messages or ({"role": "user", "content": "Hi"},)
    return openai_chat.read_request({"model": "tiny", "messages": list(messages), **body})


def part_of(part):
    (message,) = asked({"role": "user", "content": [part]}).messages
    (read,) = message.parts
    return read


def user(content):
    return {"role": "user", "content": content}


def tool(call_id="call_1", content="42", **more):
    return {"role": "tool", "tool_call_id": call_id, "content": content, **more}


# Messages


def test_a_plain_request_says_nothing_more():
    assert asked() == ChatRequest([Message("user", [Text("Hi")])])


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_are_of_the_system(role):
    assert asked({"role": role, "content": "Be brief."}).messages == [
        Message("system", [Text("Be brief.")])
    ]


def test_a_name_stays_with_its_message():
    assert asked({"role": "user", "name": "Ada", "content": "Hi"}).messages[0].name == "Ada"


@pytest.mark.parametrize(
    ("part", "read"),
    [
        ({"type": "text", "text": "Hi"}, Text("Hi")),
        ({"type": "refusal", "refusal": "No."}, Refusal("No.")),
        (
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}},
            Media("image", url="https://x.test/a.png", detail="low"),
        ),
        (
            {"type": "image_url", "image_url": "https://x.test/a.png"},
            Media("image", url="https://x.test/a.png"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            Media("image", "image/png", "AAAA"),
        ),
        (
            {
                "type": "image_url",
                "image_url": {"url": "data:image/svg+xml;charset=utf-8,%3Csvg/%3E"},
            },
            Media("image", "image/svg+xml", "PHN2Zy8+"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            Media("audio", "audio/mpeg", "AAAA"),
        ),
        (
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            },
            Media("document", "application/pdf", "AAAA", name="a.pdf"),
        ),
        (
            {"type": "file", "file": {"file_data": "AAAA"}},
            Media("document", "application/pdf", "AAAA"),
        ),
        (
            {"type": "file", "file": {"file_id": "https://x.test/a.pdf"}},
            Media("document", url="https://x.test/a.pdf"),
        ),
    ],
)
def test_parts_are_read(part, read):
    assert part_of(part) == read


@pytest.mark.parametrize(
    ("mark", "cache"), [({"type": "ephemeral"}, "5m"), ({"type": "ephemeral", "ttl": "1h"}, "1h")]
)
def test_a_part_may_be_worth_caching(mark, cache):
    assert part_of({"type": "text", "text": "Hi", "cache_control": mark}) == Text("Hi", cache)


def test_a_mark_on_the_message_is_its_last_parts():
    message = {**user("Hi"), "cache_control": {"type": "ephemeral"}}

    assert asked(message).messages[0].parts == [Text("Hi", "5m")]


def test_calls_and_their_results_are_read():
    assistant = {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "c2"}]}

    request = asked(user("Go"), assistant, tool(), tool("c2", [{"type": "text", "text": "43"}]))

    assert request.messages[1:] == [
        Message("assistant", [ToolCall("call_1", "f", '{"a":1}'), ToolCall("c2", "f", '{"a":1}')]),
        Message("user", [ToolResult("call_1", [Text("42")]), ToolResult("c2", [Text("43")])]),
    ]


def test_a_signature_comes_back_with_the_id_of_its_call():
    call_id = signed_id("call_1", "c2ln")

    request = asked({"role": "assistant", "tool_calls": [{**CALL, "id": call_id}]}, tool(call_id))

    call, result = (message.parts[0] for message in request.messages)
    assert (call.id, call.signature, result.call_id) == ("call_1", "c2ln", "call_1")


def test_googles_signature_comes_back_with_its_call():
    call = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}

    assert asked({"role": "assistant", "tool_calls": [call]}).messages[0].parts[0].signature == (
        "c2ln"
    )


def test_functions_of_the_format_of_2023_are_calls_by_name():
    request = asked(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "42"},
    )

    call, result = (message.parts[0] for message in request.messages)
    assert (call.name, call.id) == ("f", result.call_id)
    assert call.id


THOUGHT = Thinking("Hm.", "c2ln")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"reasoning_content": "Hm."}, [Thinking("Hm.")]),
        ({"reasoning": "Hm."}, [Thinking("Hm.")]),
        (
            {
                "reasoning_content": "Hm.",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "index": 0},
                    {"type": "reasoning.encrypted", "data": "ZGF0YQ==", "index": 1},
                ],
            },
            [THOUGHT, Thinking("", redacted="ZGF0YQ==")],
        ),
        (
            {
                "reasoning_content": "Hm.",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "ZGF0YQ=="},
                ],
            },
            [THOUGHT, Thinking("", redacted="ZGF0YQ==")],
        ),
    ],
)
def test_thoughts_come_back_with_their_signatures(given, read):
    (message,) = asked({"role": "assistant", "content": "Yes.", **given}).messages

    assert message.parts == [*read, Text("Yes.")]


def test_thoughts_come_back_as_parts_too():
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "signature": "c2ln"},
        {"type": "text", "text": "Yes."},
    ]

    (message,) = asked({"role": "assistant", "content": content}).messages
    assert message.parts == [THOUGHT, Text("Yes.")]


# Fields


def test_sampling_is_read():
    request = asked(
        max_tokens=5, temperature=0, top_p=0.5, top_k=3, stop="x", seed=-1, presence_penalty=1,
        frequency_penalty=-1, n=2, logprobs=True, top_logprobs=4, logit_bias={"5": -100}, user="u",
        stream=True,
    )  # fmt: skip

    assert request == ChatRequest(
        [Message("user", [Text("Hi")])], stream=True, max_tokens=5, temperature=0, top_p=0.5,
        top_k=3, stop=["x"], seed=-1, presence_penalty=1, frequency_penalty=-1, n=2, logprobs=True,
        top_logprobs=4, logit_bias={"5": -100}, user="u",
    )  # fmt: skip


def test_the_newer_bound_goes_before_the_older():
    assert asked(max_tokens=5, max_completion_tokens=7).max_tokens == 7


def test_tools_are_read():
    function = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
    given = {"type": "function", "function": function, "cache_control": {"type": "ephemeral"}}

    request = asked(tools=[given], parallel_tool_calls=False)

    assert request.tools == [Tool("f", "d", SCHEMA, True, "5m")]
    assert request.parallel_tools is False


def test_functions_of_the_format_of_2023_are_tools_used_one_at_a_time():
    request = asked(functions=[{"name": "f", "parameters": SCHEMA}], function_call={"name": "f"})

    assert (request.tools, request.parallel_tools) == ([Tool("f", "", SCHEMA)], False)
    assert request.tool_choice == ToolChoice("named", "f")


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ("any", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", "f")),
        (None, None),
    ],
)
def test_the_choice_of_tools_is_read(given, choice):
    assert asked(tool_choice=given).tool_choice == choice


def test_of_the_tools_only_the_allowed_ones_are_offered():
    tools = [{"type": "function", "function": {"name": name}} for name in "fgh"]
    allowed = {"mode": "required", "tools": tools[:2]}

    request = asked(tools=tools, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})

    assert [each.name for each in request.tools] == ["f", "g"]
    assert request.tool_choice == ToolChoice("required")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, ResponseFormat("json_object")),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
            ResponseFormat("json_schema", "n", SCHEMA, True),
        ),
        (
            {"type": "json_object", "schema": SCHEMA},
            ResponseFormat("json_schema", schema=SCHEMA),
        ),
    ],
)
def test_the_form_of_the_answer_is_read(given, read):
    assert asked(response_format=given).response_format == read


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"reasoning_effort": "high"}, Reasoning(effort="high")),
        ({"reasoning_effort": "none"}, Reasoning(False, "none")),
        ({"reasoning": {"effort": "low"}}, Reasoning(effort="low")),
        (
            {"reasoning": {"max_tokens": 2000, "exclude": True}},
            Reasoning(budget_tokens=2000, shown=False),
        ),
        ({"reasoning": {"enabled": False}}, Reasoning(False)),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            Reasoning(budget_tokens=2000),
        ),
        ({"thinking": {"type": "disabled"}}, Reasoning(False)),
        ({}, None),
    ],
)
def test_how_much_is_thought_is_read(given, read):
    assert asked(**given).reasoning == read


def test_what_has_no_place_is_named():
    request = asked(
        prediction={"type": "content"}, web_search_options={}, verbosity="low", min_p=0.1
    )

    assert request.unknown == ["prediction", "web_search_options", "verbosity", "min_p"]


def test_tools_that_are_no_functions_are_named():
    request = asked(tools=[{"type": "custom", "custom": {"name": "f"}}])

    assert (request.tools, request.unknown) == ([], ["tools[].custom"])


def test_what_happens_anyway_is_not_named():
    request = asked(
        store=False, service_tier="auto", modalities=["text"], metadata={}, prediction=None,
        stream_options={"include_usage": True},
    )  # fmt: skip

    assert request.unknown == []


# What cannot be understood


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "narrator", "content": "x"}, "messages.0.role"),
        ({"content": "x"}, "messages.0.role"),
        ({"role": ["user"], "content": "x"}, "messages.0.role"),
        (user(5), "messages.0.content"),
        (user([{"type": "video_url"}]), "messages.0.content.0.type"),
        (user(["x"]), "messages.0.content.0.type"),
        (user([{"type": "text", "text": 5}]), "messages.0.content.0.text"),
        (user([{"type": "image_url", "image_url": 5}]), "messages.0.content.0.image_url"),
        (user([{"type": "image_url", "image_url": {}}]), "messages.0.content.0.image_url.url"),
        (
            user([{"type": "image_url", "image_url": {"url": "data:image/png"}}]),
            "messages.0.content.0.image_url.url",
        ),
        (
            user([{"type": "file", "file": {"file_id": "file-abc"}}]),
            "messages.0.content.0.file.file_id",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"arguments": "{}"}}]},
            "messages.0.tool_calls.0.function.name",
        ),
        ({"role": "assistant", "tool_calls": [5]}, "messages.0.tool_calls"),
        (tool(5), "messages.0.tool_call_id"),
    ],
)
def test_a_message_that_cannot_be_understood_is_named(message, param):
    with pytest.raises(BadRequest) as refusal:
        asked(message)

    assert refusal.value.param == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"seed": 1.5}, "seed"),
        ({"n": True}, "n"),
        ({"stop": [5]}, "stop"),
        ({"logprobs": 5}, "logprobs"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"reasoning_effort": 5}, "reasoning_effort"),
        ({"reasoning": "high"}, "reasoning"),
    ],
)
def test_a_field_that_cannot_be_understood_is_named(body, param):
    with pytest.raises(BadRequest) as refusal:
        asked(**body)

    assert refusal.value.param == param


names = st.sampled_from(
    ["role", "content", "type", "text", "image_url", "url", "file", "file_data", "input_audio"]
    + ["data", "tool_calls", "function", "name", "arguments", "id", "tool_call_id", "refusal"]
    + ["reasoning_details", "thinking_blocks", "thinking", "signature", "function_call"]
    + ["cache_control", "ttl", "tools", "functions", "tool_choice", "allowed_tools", "mode"]
    + ["response_format", "json_schema", "schema", "reasoning", "effort", "max_tokens", "stop"]
    + ["extra_content", "google", "thought_signature", "messages", "n", "logprobs", "user"]
)
words = st.sampled_from(
    ["user", "assistant", "system", "tool", "function", "text", "image_url", "file", "thinking"]
    + ["input_audio", "allowed_tools", "json_schema", "data:,", "data:x", "ephemeral", "", "x"]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
    max_leaves=40,
)


#: Messages that are not refused for their role already.
messages = st.builds(
    lambda role, message: {**message, "role": role},
    st.sampled_from(["user", "assistant", "system", "tool", "function"]),
    st.dictionaries(names, anything, max_size=6),
)


@given(
    st.lists(messages, max_size=3),
    st.dictionaries(names, anything, max_size=6),
)
def test_whatever_a_client_sends_is_read_or_refused(messages, body):
    with contextlib.suppress(BadRequest):
        openai_chat.read_request({**body, "messages": messages})
