"""Requests of the hub's, written for Gemini."""

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
from gateway.dialects.base import Drops
from gateway.dialects.gemini_generate import gemini_generate
from gateway.dialects.gemini_generate.signatures import SKIPS_VALIDATION
from gateway.dialects.signatures import GOOGLE, marked
from tests.gateway.targets import make_target

OLD, NEW = "gemini-2.5-pro", "gemini-3-pro-preview"
HI = Message("user", [Text("Hi")])


def write(*messages, model=OLD, drops=None, **fields):
    request = ChatRequest(list(messages or [HI]), **fields)
    target = make_target(upstream_model=model)
    return gemini_generate.write_request(request, target, drops or Drops(refuses=False))


def contents(*messages, model=OLD):
    return write(*messages, model=model)["contents"]


def config(**fields):
    return write(**fields)["generationConfig"]


def test_turns_and_instructions_have_their_places():
    system = Message("system", [Text("Be brief.")])
    body = write(system, HI, Message("assistant", [Text("Yes?"), Refusal("No.")]), system)

    assert body == {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Yes?"}, {"text": "No."}]},
        ],
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be brief."}]},
    }


def test_an_instruction_alone_is_what_is_said():
    body = write(Message("system", [Text("Greet me.")]))

    assert body == {"contents": [{"role": "user", "parts": [{"text": "Greet me."}]}]}


def test_results_of_one_turn_stand_together_by_their_tools_names():
    calls = [ToolCall("1", "look", '{"at": 1}'), ToolCall("2", "ask", "")]
    answered = [
        Message("user", [ToolResult("2", [Text('{"a": 1}')])]),
        Message("user", [ToolResult("1", [Text("one")], failed=True)]),
        Message("user", [Text("Go on.")]),
    ]

    model, user = contents(Message("assistant", calls), *answered)

    assert [part["functionCall"] for part in model["parts"]] == [
        {"id": "1", "name": "look", "args": {"at": 1}},
        {"id": "2", "name": "ask", "args": {}},
    ]
    assert user["parts"] == [
        {"functionResponse": {"id": "2", "name": "ask", "response": {"a": 1}}},
        {"functionResponse": {"id": "1", "name": "look", "response": {"error": "one"}}},
        {"text": "Go on."},
    ]


@pytest.mark.parametrize("words", ["one", "[1]", "5", ""])
def test_a_result_that_is_no_object_becomes_one(words):
    (user,) = contents(Message("user", [ToolResult("1", [Text(words)])]))

    assert user["parts"][0]["functionResponse"]["response"] == {"output": words}


def test_arguments_that_are_no_object_are_kept():
    (model,) = contents(Message("assistant", [ToolCall("1", "f", '{"half')]))

    assert model["parts"][0]["functionCall"]["args"] == {"arguments": '{"half'}


def test_media_go_by_their_bytes_or_by_their_address():
    parts = [
        Media("image", "image/png", "aGk="),
        Media("image", url="https://x.test/a.webp?b=1"),
        Media("document", url="https://x.test/a"),
        ToolResult("1", [Media("image", "image/png", "eA==")]),
    ]

    (user,) = contents(Message("user", parts))

    assert user["parts"][:3] == [
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://x.test/a.webp?b=1"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.test/a"}},
    ]
    assert user["parts"][4] == {"inlineData": {"mimeType": "image/png", "data": "eA=="}}


def test_a_call_goes_back_with_its_signature():
    (model,) = contents(Message("assistant", [ToolCall("1", "f", "{}", "c2ln")]))

    assert model["parts"][0]["thoughtSignature"] == "c2ln"


def test_where_a_new_model_wants_a_signature_that_there_is_not_it_is_told_to_do_without():
    calls = [ToolCall("1", "f", "{}"), ToolCall("2", "f", "{}")]

    (new,) = contents(Message("assistant", calls), model=NEW)
    (old,) = contents(Message("assistant", calls), model=OLD)

    signatures = [part.get("thoughtSignature") for part in new["parts"]]
    assert signatures == [SKIPS_VALIDATION, None]
    assert "thoughtSignature" not in old["parts"][0]


def test_thoughts_of_googles_go_back_signed_with_the_part_after_them():
    thought = Thinking("Hm.", marked(GOOGLE, "c2ln"))

    (model,) = contents(Message("assistant", [thought, Text("Four.")]))

    assert model["parts"] == [
        {"text": "Hm.", "thought": True},
        {"text": "Four.", "thoughtSignature": "c2ln"},
    ]


def test_a_signature_without_a_part_after_it_has_one_of_its_own():
    (model,) = contents(Message("assistant", [Text("Four."), Thinking("", marked(GOOGLE, "c2ln"))]))

    assert model["parts"][-1] == {"text": "", "thoughtSignature": "c2ln"}


def test_no_signature_of_another_vendor_is_sent():
    thoughts = [Thinking("Hm.", "theirs"), Thinking("", redacted="hidden"), Text("Four.")]

    (model,) = contents(Message("assistant", thoughts))

    assert model["parts"] == [{"text": "Hm.", "thought": True}, {"text": "Four."}]


def test_the_configuration_is_written():
    written = config(
        temperature=0.5, top_p=0.9, top_k=40, max_tokens=100, stop=["END"], n=2, seed=7,
        presence_penalty=0.1, frequency_penalty=0.2, logprobs=True, top_logprobs=3,
    )  # fmt: skip

    assert written == {
        "temperature": 0.5, "topP": 0.9, "topK": 40, "maxOutputTokens": 100,
        "stopSequences": ["END"], "candidateCount": 2, "seed": 7, "presencePenalty": 0.1,
        "frequencyPenalty": 0.2, "responseLogprobs": True, "logprobs": 3,
    }  # fmt: skip


def test_nothing_that_was_not_asked_for_is_written():
    assert write().keys() == {"contents"}


def test_a_schema_goes_whole():
    schema = {"type": "object", "additionalProperties": False, "$defs": {}}

    assert config(response_format=ResponseFormat("json_schema", schema=schema)) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }
    assert config(response_format=ResponseFormat("json_object")) == {
        "responseMimeType": "application/json"
    }


def test_tools_go_with_their_whole_schemas():
    schema = {"type": "object", "additionalProperties": False}

    assert write(tools=[Tool("f", "Does f.", schema), Tool("g")])["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "Does f.", "parametersJsonSchema": schema},
                {"name": "g"},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("named", "f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_how_tools_are_chosen_is_written(choice, expected):
    assert write(tool_choice=choice)["toolConfig"] == {"functionCallingConfig": expected}


@pytest.mark.parametrize(
    ("model", "asked", "expected"),
    [
        (OLD, Reasoning(effort="low"), {"includeThoughts": True, "thinkingBudget": 1024}),
        (OLD, Reasoning(effort="high", shown=False), {"thinkingBudget": 24576}),
        (OLD, Reasoning(budget_tokens=99), {"includeThoughts": True, "thinkingBudget": 99}),
        (OLD, Reasoning(enabled=False), {"thinkingBudget": 0}),
        (OLD, Reasoning(), {"includeThoughts": True}),
        (NEW, Reasoning(effort="high", shown=False), {"thinkingLevel": "high"}),
        (NEW, Reasoning(effort="xhigh", shown=False), {"thinkingLevel": "high"}),
        (NEW, Reasoning(effort="minimal", shown=False), {"thinkingLevel": "low"}),
        ("gemini-3-flash", Reasoning(effort="minimal", shown=False), {"thinkingLevel": "minimal"}),
        (NEW, Reasoning(enabled=False), {"thinkingLevel": "low"}),
    ],
)
def test_how_much_to_think_is_told_as_the_model_knows_it(model, asked, expected):
    assert config(model=model, reasoning=asked)["thinkingConfig"] == expected


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"parallel_tools": False}, "parallel_tool_calls"),
        ({"user": "u1"}, "user"),
        ({"tools": [Tool("f", cache="5m")]}, "cache_control"),
        ({"model": NEW, "reasoning": Reasoning(enabled=False)}, "reasoning_effort"),
    ],
)
def test_what_has_no_place_is_noted(fields, name):
    drops = Drops(refuses=False)

    write(drops=drops, **fields)

    assert drops.names == [name]


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (Message("user", [Text("Hi")], name="ann"), "name"),
        (Message("user", [Text("Hi", cache="1h")]), "cache_control"),
        (Message("user", [Media("image", "image/png", "aA==", detail="low")]), "detail"),
    ],
)
def test_what_has_no_place_in_a_message_is_noted(message, name):
    drops = Drops(refuses=False)

    write(message, drops=drops)

    assert drops.names == [name]
