"""What a client asks for in Responses."""

import pytest

from gateway.canonical import (
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
)
from gateway.dialects.openai_responses import openai_responses
from gateway.dialects.signatures import OPENAI, marked
from gateway.errors import BadRequest, UnsupportedParameter


def read(**body):
    return openai_responses.read_request({"model": "tiny", "input": "Hi", **body})


def turns(*items):
    return read(input=list(items)).messages


def message(role, *content):
    return {"type": "message", "role": role, "content": list(content)}


def test_a_text_is_one_message():
    assert read().messages == [Message("user", [Text("Hi")])]


def test_instructions_come_first():
    assert read(instructions="Be brief.").messages[0] == Message("system", [Text("Be brief.")])


@pytest.mark.parametrize(
    ("role", "read_as"),
    [("user", "user"), ("system", "system"), ("developer", "system"), ("assistant", "assistant")],
)
def test_a_message_may_be_given_the_easy_way(role, read_as):
    assert turns({"role": role, "content": "Hi"}) == [Message(read_as, [Text("Hi")])]


@pytest.mark.parametrize(
    ("part", "read_as"),
    [
        ({"type": "input_text", "text": "Hi"}, Text("Hi")),
        ({"type": "output_text", "text": "Hi", "annotations": []}, Text("Hi")),
        ({"type": "refusal", "refusal": "No."}, Refusal("No.")),
        (
            {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"},
            Media("image", url="https://x.test/a.png", detail="low"),
        ),
        (
            {"type": "input_image", "image_url": "data:image/png;charset=x;base64,QQ=="},
            Media("image", "image/png", "QQ=="),
        ),
        (
            {"type": "input_file", "filename": "a", "file_data": "data:text/csv;base64,QQ=="},
            Media("document", "text/csv", "QQ==", name="a"),
        ),
        (
            {"type": "input_file", "file_data": "QQ=="},
            Media("document", "application/pdf", "QQ=="),
        ),
        (
            {"type": "input_file", "file_url": "https://x.test/a.pdf"},
            Media("document", url="https://x.test/a.pdf"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
            Media("audio", "audio/mpeg", "QQ=="),
        ),
    ],
)
def test_every_part_of_a_message_is_read(part, read_as):
    assert turns(message("user", part)) == [Message("user", [read_as])]


def test_what_the_model_did_at_once_is_one_turn():
    items = [
        {"role": "user", "content": "Hi"},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "sealed",
        },
        message("assistant", {"type": "output_text", "text": "Let me look."}),
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "21"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "22"}],
        },
        {"role": "user", "content": "And?"},
    ]

    assert turns(*items)[1:] == [
        Message(
            "assistant",
            [
                Thinking("Hm.", marked(OPENAI, "sealed")),
                Text("Let me look."),
                ToolCall("c1", "look", "{}"),
                ToolCall("c2", "look", "{}"),
            ],
        ),
        Message("user", [ToolResult("c1", [Text("21")]), ToolResult("c2", [Text("22")])]),
        Message("user", [Text("And?")]),
    ]


def test_a_signature_that_travelled_in_a_calls_id_is_taken_out_of_it():
    call = {"type": "function_call", "call_id": "c1__sig__abc", "name": "look", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c1__sig__abc", "output": "21"}

    called, came = turns(call, result)

    assert called.parts == [ToolCall("c1", "look", "{}", "abc")]
    assert came.parts == [ToolResult("c1", [Text("21")])]


@pytest.mark.parametrize(
    ("item", "read_as"),
    [
        (
            {"summary": [{"text": "One."}, {"text": "Two."}], "content": None},
            Thinking("One.\n\nTwo."),
        ),
        ({"summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}, Thinking("Hm.")),
        ({"summary": [], "encrypted_content": "sealed"}, Thinking("", marked(OPENAI, "sealed"))),
        (
            {"summary": [], "encrypted_content": "courier.anthropic.redacted.sealed"},
            Thinking("", redacted="sealed"),
        ),
    ],
)
def test_thoughts_are_read_with_what_seals_them(item, read_as):
    assert turns({"type": "reasoning", **item}) == [Message("assistant", [read_as])]


def test_a_call_with_free_input_is_read_as_one_with_an_argument():
    call = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": 'a "b"\n'}
    result = {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done."}

    called, came = turns(call, result)

    assert called.parts == [ToolCall("c1", "patch", '{"input":"a \\"b\\"\\n"}')]
    assert came.parts == [ToolResult("c1", [Text("Done.")])]


def test_items_that_only_some_providers_know_are_named():
    request = read(
        input=[
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"role": "user", "content": "Hi"},
        ]
    )

    assert request.messages == [Message("user", [Text("Hi")])]
    assert request.unknown == ["input.web_search_call"]


def test_tools_are_read():
    tools = [
        {
            "type": "function",
            "name": "look",
            "description": "Looks.",
            "parameters": {"type": "object"},
            "strict": True,
        },
        {"type": "function", "name": "go"},
    ]

    assert read(tools=tools).tools == [
        Tool("look", "Looks.", {"type": "object"}, strict=True),
        Tool("go"),
    ]


def test_a_tool_with_free_input_is_a_function_with_one_text():
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: begin"}
    (tool,) = read(
        tools=[{"type": "custom", "name": "patch", "description": "Patches.", "format": grammar}]
    ).tools

    assert tool.parameters["required"] == ["input"]
    assert tool.parameters["properties"]["input"]["type"] == "string"
    assert tool.description.startswith("Patches.")
    assert "start: begin" in tool.description


def test_tools_that_only_some_providers_have_are_named():
    request = read(tools=[{"type": "web_search"}, {"type": "mcp", "server_label": "x"}])

    assert (request.tools, request.unknown) == ([], ["tools.web_search", "tools.mcp"])


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "look"}, ToolChoice("named", "look")),
        ({"type": "custom", "name": "patch"}, ToolChoice("named", "patch")),
        (None, None),
    ],
)
def test_a_choice_of_tools_is_read(given, choice):
    assert read(tool_choice=given).tool_choice == choice


def test_tools_that_are_not_allowed_are_not_shown():
    tools = [{"type": "function", "name": name} for name in ("look", "go")]
    allowed = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "go"}],
    }

    request = read(tools=tools, tool_choice=allowed)

    assert request.tools == [Tool("go")]
    assert request.tool_choice == ToolChoice("required")


def test_a_choice_of_a_tool_that_is_not_there_is_named():
    assert read(tool_choice={"type": "web_search"}).unknown == ["tool_choice"]


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, ResponseFormat("json_object")),
        (
            {"type": "json_schema", "name": "point", "schema": {"type": "object"}, "strict": True},
            ResponseFormat("json_schema", "point", {"type": "object"}, strict=True),
        ),
    ],
)
def test_the_form_of_the_answer_is_read(given, form):
    assert read(text={"format": given, "verbosity": "medium"}).response_format == form


@pytest.mark.parametrize(
    ("given", "reasoning"),
    [
        ({"effort": "high", "summary": "auto"}, Reasoning(effort="high")),
        ({"effort": "none"}, Reasoning(enabled=False, effort="none")),
        ({"summary": "detailed"}, Reasoning()),
        ({"effort": None, "summary": None}, None),
        (None, None),
    ],
)
def test_an_effort_is_read(given, reasoning):
    assert read(reasoning=given).reasoning == reasoning


def test_figures_are_read():
    request = read(
        stream=True,
        max_output_tokens=100,
        temperature=0,
        top_p=0.5,
        parallel_tool_calls=False,
        user="u1",
    )

    assert (request.stream, request.max_tokens, request.parallel_tools) == (True, 100, False)
    assert (request.temperature, request.top_p, request.user) == (0, 0.5, "u1")


def test_probabilities_are_asked_for_by_what_is_included():
    request = read(include=["message.output_text.logprobs"], top_logprobs=3)

    assert (request.logprobs, request.top_logprobs) == (True, 3)


def test_what_changes_nothing_is_not_named():
    request = read(
        store=False,
        background=False,
        metadata={"a": "b"},
        prompt_cache_key="k",
        include=["reasoning.encrypted_content"],
        truncation="disabled",
        service_tier="auto",
        stream_options={"include_obfuscation": False},
        previous_response_id=None,
        context_management=None,
    )

    assert request.unknown == []


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("truncation", "auto", "truncation"),
        ("service_tier", "flex", "service_tier"),
        ("text", {"verbosity": "low"}, "text.verbosity"),
        ("text", {"format": {"type": "grammar"}}, "text.format"),
        ("reasoning", {"effort": "low", "context": "all_turns"}, "reasoning.context"),
        ("include", ["file_search_call.results"], "include"),
        ("max_tool_calls", 3, "max_tool_calls"),
        ("made_up", 1, "made_up"),
    ],
)
def test_what_has_no_meaning_elsewhere_is_named(field, value, name):
    assert read(**{field: value}).unknown == [name]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ["Hi"]}, "input[0]"),
        ({"input": [{"type": "message", "content": "Hi"}]}, "input[0]"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": ["Hi"]}]}, "input[0].content[0]"),
        ({"input": [message("user", {"type": "odd"})]}, "input[0].content[0]"),
        ({"input": [message("user", {"type": "input_text"})]}, "input[0].content[0].text"),
        (
            {"input": [message("user", {"type": "input_image"})]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"type": "function_call", "name": "x"}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": ["look"]}, "tools"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"parallel_tool_calls": "yes"}, "parallel_tool_calls"),
        ({"reasoning": "high"}, "reasoning"),
        ({"text": []}, "text"),
        ({"instructions": ["x"]}, "instructions"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(body, param):
    with pytest.raises(BadRequest) as refused:
        read(**body)

    assert refused.value.param == param


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": "f"}]},
    ],
)
def test_what_stands_for_something_kept_is_refused(item):
    with pytest.raises(UnsupportedParameter):
        turns(item)
