"""What a vendor that speaks Anthropic's format is asked."""

import base64

import pytest

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
)
from gateway.dialects.anthropic_messages import anthropic_messages
from gateway.dialects.base import Drops
from registry.capabilities import Capabilities
from tests.gateway.targets import make_target

HI = Message("user", [Text("Hi")])
F = Tool("f", "does", {"type": "object", "properties": {}})
OLD, ADAPTIVE, NEW, OTHER = "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-7", "kimi-k2"
CLOSED = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
FORM = ResponseFormat("json_schema", schema=CLOSED)


def written(request, model=OLD, **capabilities):
    """The body, and what was dropped."""
    drops = Drops(refuses=False)
    target = make_target(upstream_model=model, capabilities=Capabilities(**capabilities))
    return anthropic_messages.write_request(request, target, drops), drops.names


def asked(*messages, model=OLD, capabilities=None, **fields):
    return written(ChatRequest([*messages] or [HI], **fields), model, **(capabilities or {}))


def turns(*messages):
    body, _ = asked(*messages)
    return [(turn["role"], turn["content"]) for turn in body["messages"]]


def text(words):
    return {"type": "text", "text": words}


def test_the_least_that_is_asked():
    assert asked(max_tokens=5)[0] == {
        "model": OLD,
        "messages": [{"role": "user", "content": [text("Hi")]}],
        "max_tokens": 5,
    }


# Turns


def test_instructions_stand_before_the_conversation():
    system = Message("system", [Text("Be brief.", cache="1h"), Text(" ")])

    body, _ = asked(system, HI, Message("system", [Text("Be kind.")]))

    marked = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert body["system"] == [text("Be brief.") | marked, text("Be kind.")]
    assert len(body["messages"]) == 1


def test_turns_of_one_side_are_one_turn():
    other = Message("assistant", [Text("Yes?")])

    assert turns(HI, HI, other, other, HI) == [
        ("user", [text("Hi"), text("Hi")]),
        ("assistant", [text("Yes?"), text("Yes?")]),
        ("user", [text("Hi")]),
    ]


def test_empty_text_is_left_out():
    assert turns(Message("user", [Text(""), Text("Hi"), Text(" \n")])) == [("user", [text("Hi")])]


@pytest.mark.parametrize("messages", [[], [Message("user", [])], [Message("system", [Text("a")])]])
def test_somebody_always_says_something(messages):
    body, _ = written(ChatRequest(messages))

    assert [turn["role"] for turn in body["messages"]] == ["user"]


def test_the_user_always_speaks_first():
    assert [role for role, _ in turns(Message("assistant", [Text("a")]))] == ["user", "assistant"]


def test_an_answer_to_be_gone_on_with_ends_without_white_space():
    *_, (_, last) = turns(HI, Message("assistant", [Text("It is \n")]))

    assert last == [text("It is")]


def test_results_come_before_what_else_the_user_says():
    calls = Message("assistant", [ToolCall("1", "f", "{}")])
    results = Message("user", [ToolResult("1", [Text("a")])])

    *_, (_, content) = turns(HI, calls, HI, results)

    assert [block["type"] for block in content] == ["tool_result", "text"]


def test_thoughts_come_first_in_their_turn():
    said = Message("assistant", [Text("a"), Thinking("Hm.", "s"), Thinking("", redacted="d")])

    *_, (_, content) = turns(HI, said)

    assert content == [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        text("a"),
    ]


def test_thoughts_without_signature_are_somebody_elses():
    assert turns(HI, Message("assistant", [Thinking("Hm."), Text("a")]))[1][1] == [text("a")]


def test_calls_and_results_are_written():
    call = Message("assistant", [ToolCall("functions.f:0", "f", '{"a": [1]}', "sig", "5m")])
    result = Message("user", [ToolResult("functions.f:0", [Text("b")], failed=True)])

    _, (_, calls), (_, results) = turns(HI, call, result)

    assert calls == [{"type": "tool_use", "id": "functions_f_0", "name": "f",
                      "input": {"a": [1]}, "cache_control": {"type": "ephemeral"}}]  # fmt: skip
    assert results == [{"type": "tool_result", "tool_use_id": "functions_f_0",
                        "content": [text("b")], "is_error": True}]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "given"),
    [("", {}), (" ", {}), ("{", {"INVALID_JSON": "{"}), ("[1]", {"INVALID_JSON": "[1]"})],
)
def test_arguments_that_are_no_object_become_one(arguments, given):
    *_, (_, content) = turns(HI, Message("assistant", [ToolCall("1", "f", arguments)]))

    assert content[0]["input"] == given


@pytest.mark.parametrize(
    ("media", "source"),
    [
        (Media("image", "image/png", "iVBO"),
         {"type": "base64", "media_type": "image/png", "data": "iVBO"}),
        (Media("image", url="https://x/y"), {"type": "url", "url": "https://x/y"}),
        (Media("document", "application/pdf", "JVBE"),
         {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}),
        (Media("document", url="https://x/y"), {"type": "url", "url": "https://x/y"}),
        (Media("document", "text/markdown", base64.b64encode("é".encode()).decode()),
         {"type": "text", "media_type": "text/plain", "data": "é"}),
    ],
)  # fmt: skip
def test_images_and_documents_are_written(media, source):
    (_, content), = turns(Message("user", [media]))  # fmt: skip

    assert content == [{"type": media.kind, "source": source}]


@pytest.mark.parametrize(
    ("media", "name"),
    [
        (Media("image", "image/tiff", "xx"), "image_url"),
        (Media("document", "application/zip", "xx"), "file"),
        (Media("document", "text/plain", "\xff"), "file"),
        (Media("audio", "audio/wav", "xx"), "input_audio"),
    ],
)
def test_media_that_have_no_place_are_named(media, name):
    body, dropped = asked(Message("user", [media, Text("a")]))

    assert (body["messages"][0]["content"], dropped) == ([text("a")], [name])


def test_a_document_keeps_its_name():
    media = Media("document", "application/pdf", "JVBE", name="a.pdf")

    assert turns(Message("user", [media]))[0][1][0]["title"] == "a.pdf"


def test_a_refusal_of_the_past_is_text():
    assert turns(HI, Message("assistant", [Refusal("No.")]))[1][1] == [text("No.")]


def test_names_of_speakers_have_no_place():
    assert asked(Message("user", [Text("a")], name="Ann"))[1] == ["name"]


# Tools


def test_tools_are_written():
    body, dropped = asked(tools=[F, Tool("g", strict=True, cache="5m")])

    assert body["tools"] == [
        {"name": "f", "description": "does", "input_schema": F.parameters},
        {"name": "g", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
    ]
    assert dropped == ["strict"]


@pytest.mark.parametrize(
    ("choice", "parallel", "told"),
    [
        (None, None, None),
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("required"), None, {"type": "any"}),
        (ToolChoice("named", "f"), None, {"type": "tool", "name": "f"}),
        (ToolChoice("none"), False, {"type": "none"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_the_choice_of_a_tool_is_written(choice, parallel, told):
    body, _ = asked(tools=[F], tool_choice=choice, parallel_tools=parallel)

    assert body.get("tool_choice") == told


def test_tools_that_were_used_before_are_told_of():
    call = Message("assistant", [ToolCall("1", "f", "{}"), ToolCall("2", "f", "{}")])

    body, _ = asked(HI, call, Message("user", [ToolResult("1", []), ToolResult("2", [])]))

    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}


# The form of the answer


def test_a_schema_is_written_as_the_vendor_knows_it():
    body, dropped = asked(response_format=FORM)

    schema = body["output_config"]["format"]["schema"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["a"] == {"type": "integer", "description": "{minimum: 1}"}
    assert dropped == []


@pytest.mark.parametrize(
    ("model", "form", "capabilities"),
    [
        ("claude-3-5-haiku", FORM, {}),
        (OTHER, FORM, {}),
        (OLD, FORM, {"json_schema": False}),
        (OLD, ResponseFormat("json_object"), {}),
        (OLD, ResponseFormat("json_schema", schema={"type": "object"}), {}),
        (OLD, ResponseFormat("json_schema", schema=CLOSED | {"additionalProperties": {}}), {}),
    ],
)
def test_where_the_form_cannot_be_held_to_it_is_that_of_a_tool(model, form, capabilities):
    if form.schema.get("additionalProperties") == {}:
        form.schema["additionalProperties"] = {"type": "string"}

    body, dropped = asked(model=model, response_format=form, capabilities=capabilities)

    assert "output_config" not in body
    assert body["tool_choice"] == {"type": "tool", "name": "courier_json_answer"}
    assert body["tools"][0]["input_schema"] == {"type": "object", **form.schema}
    assert dropped == []


def test_the_tool_for_the_answer_stands_beside_others():
    body, _ = asked(model=OTHER, response_format=FORM, tools=[F])

    assert [tool["name"] for tool in body["tools"]] == ["f", "courier_json_answer"]
    assert body["tool_choice"] == {"type": "any"}


def test_a_model_without_tools_cannot_be_given_a_form():
    body, dropped = asked(model=OTHER, response_format=FORM, capabilities={"tools": False})

    assert "tools" not in body
    assert dropped == ["response_format"]


# The bound, thinking and sampling


@pytest.mark.parametrize(
    ("fields", "capabilities", "bound"),
    [
        ({"max_tokens": 7}, {"output_limit": 100}, 7),
        ({}, {"output_limit": 100}, 100),
        ({}, {}, 8192),
        ({"reasoning": Reasoning(effort="high")}, {}, 8192 + 16384),
    ],
)
def test_the_bound_is_always_told(fields, capabilities, bound):
    body, _ = asked(capabilities=capabilities, **fields)

    assert body["max_tokens"] == bound


@pytest.mark.parametrize(
    ("reasoning", "bound", "budget"),
    [
        (Reasoning(effort="low"), None, 2048),
        (Reasoning(effort="high"), 64_000, 16_384),
        (Reasoning(effort="high"), 10_000, 8000),
        (Reasoning(effort="high"), 1100, 1024),
        (Reasoning(budget_tokens=5000), None, 5000),
        (Reasoning(budget_tokens=5), None, 1024),
        (Reasoning(effort="unheard"), None, 6553),
        (Reasoning(), 64_000, 8192),
    ],
)
def test_an_effort_is_a_budget_below_the_bound(reasoning, bound, budget):
    body, dropped = asked(reasoning=reasoning, max_tokens=bound)

    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] > budget
    assert dropped == []


def test_a_bound_that_leaves_no_room_to_think_is_kept():
    body, dropped = asked(reasoning=Reasoning(effort="low"), max_tokens=1024)

    assert "thinking" not in body
    assert dropped == ["reasoning_effort"]


@pytest.mark.parametrize(
    ("model", "reasoning", "effort"),
    [
        (ADAPTIVE, Reasoning(effort="minimal"), "low"),
        (ADAPTIVE, Reasoning(effort="high"), "high"),
        (ADAPTIVE, Reasoning(effort="xhigh"), "high"),
        (NEW, Reasoning(effort="xhigh"), "xhigh"),
        (NEW, Reasoning(budget_tokens=9000), "medium"),
        (NEW, Reasoning(budget_tokens=50_000), "xhigh"),
    ],
)
def test_models_that_decide_themselves_are_told_an_effort(model, reasoning, effort):
    body, _ = asked(model=model, reasoning=reasoning, response_format=FORM)

    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"]["effort"] == effort
    assert "format" in body["output_config"]


def test_without_an_effort_they_decide_alone():
    body, _ = asked(model=NEW, reasoning=Reasoning(shown=False))

    assert body["thinking"] == {"type": "adaptive", "display": "omitted"}
    assert "output_config" not in body


def test_thinking_can_be_switched_off():
    assert asked(reasoning=Reasoning(enabled=False))[0]["thinking"] == {"type": "disabled"}


def test_what_must_be_called_goes_before_thinking():
    body, dropped = asked(
        tools=[F], tool_choice=ToolChoice("required"), reasoning=Reasoning(effort="low")
    )

    assert "thinking" not in body
    assert dropped == ["reasoning_effort"]


@pytest.mark.parametrize(
    ("thought", "goes_on"), [([], False), ([Thinking("Hm.", "s")], True)]
)  # fmt: skip
def test_in_the_middle_of_a_turn_thinking_goes_on_where_it_was_brought_back(thought, goes_on):
    call = Message("assistant", [*thought, ToolCall("1", "f", "{}")])
    result = Message("user", [ToolResult("1", [Text("a")])])

    body, dropped = asked(HI, call, result, tools=[F], reasoning=Reasoning(effort="low"))

    assert ("thinking" in body) is goes_on
    assert dropped == ([] if goes_on else ["reasoning_effort"])


@pytest.mark.parametrize(
    ("model", "fields", "told", "dropped"),
    [
        (OTHER, {"temperature": 0.5, "top_p": 0.9, "top_k": 3},
         {"temperature": 0.5, "top_p": 0.9, "top_k": 3}, []),
        (OTHER, {"temperature": 1.7}, {"temperature": 1.0}, ["temperature"]),
        (OTHER, {"temperature": 0.5, "reasoning": Reasoning(effort="low")},
         {"temperature": 0.5}, []),
        (OLD, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ["top_p"]),
        (OLD, {"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}, []),
        (OLD, {"top_p": 0.9}, {"top_p": 0.9}, []),
        (OLD, {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "reasoning": Reasoning(effort="low")},
         {}, ["temperature", "top_k", "top_p"]),
        (OLD, {"top_p": 0.97, "reasoning": Reasoning(effort="low")}, {"top_p": 0.97}, []),
        (OLD, {"temperature": 0.5, "reasoning": Reasoning(enabled=False)},
         {"temperature": 0.5}, []),
        (NEW, {"temperature": 1, "top_p": 1}, {}, []),
        (NEW, {"temperature": 0, "top_k": 3}, {}, ["temperature", "top_k"]),
    ],
)  # fmt: skip
def test_sampling_is_asked_as_far_as_the_model_lets_itself_be_sampled(model, fields, told, dropped):
    body, names = asked(model=model, **fields)

    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == told
    assert names == dropped


def test_white_space_stops_nothing():
    body, dropped = asked(stop=["\n", "END"])

    assert (body["stop_sequences"], dropped) == (["END"], ["stop"])


def test_the_rest_is_written():
    body, _ = asked(user="u", stream=True)

    assert (body["metadata"], body["stream"]) == ({"user_id": "u"}, True)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2}, {"seed": 0}, {"presence_penalty": 0.5}, {"frequency_penalty": 0.5},
        {"logprobs": True}, {"top_logprobs": 2}, {"logit_bias": {"1": 2}},
    ],
)  # fmt: skip
def test_what_has_no_place_is_named(fields):
    assert asked(**fields)[1] == [*fields]


@pytest.mark.parametrize("fields", [{"n": 1}, {"presence_penalty": 0.0}, {"logit_bias": {}}])
def test_what_means_nothing_is_not_named(fields):
    assert asked(**fields)[1] == []
