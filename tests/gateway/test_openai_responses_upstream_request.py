"""What a vendor of Responses is asked."""

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
from gateway.dialects.openai_responses import openai_responses
from gateway.dialects.signatures import OPENAI, marked
from gateway.errors import UnsupportedParameter
from registry.capabilities import Capabilities
from tests.gateway.targets import make_target

HI = Message("user", [Text("Hi")])
SEALED = marked(OPENAI, "sealed")


def write(*messages, capabilities=None, drops=None, **fields):
    target = make_target(upstream_model="gpt-5", capabilities=capabilities or Capabilities())
    request = ChatRequest(list(messages) or [HI], **fields)
    return openai_responses.write_request(request, target, drops or Drops(refuses=False))


def said(role, *content):
    return {"type": "message", "role": role, "content": list(content)}


def dropped(*messages, **fields):
    drops = Drops(refuses=False)
    write(*messages, drops=drops, **fields)
    return drops.names


def test_the_provider_is_asked_to_keep_nothing():
    assert write() == {
        "model": "gpt-5",
        "input": [said("user", {"type": "input_text", "text": "Hi"})],
        "store": False,
    }


def test_what_a_conversation_begins_with_are_its_instructions():
    written = write(Message("system", [Text("Be brief.")]), Message("system", [Text("Bitte.")]), HI)

    assert written["instructions"] == "Be brief.\n\nBitte."
    assert len(written["input"]) == 1


def test_instructions_in_the_middle_are_the_developers():
    later = write(HI, Message("system", [Text("Now in French.")]))["input"][1]

    assert later == said("developer", {"type": "input_text", "text": "Now in French."})


def test_a_turn_of_the_model_keeps_its_order():
    turn = Message(
        "assistant",
        [
            Thinking("Hm.", SEALED),
            Text("Let me look."),
            ToolCall("call_1", "look", '{"a":1}', signature="not ours"),
            ToolCall("call_2", "look", "{}"),
        ],
    )

    assert write(HI, turn)["input"][1:] == [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "sealed",
        },
        {"type": "message", "role": "assistant", "content": "Let me look."},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "call_2", "name": "look", "arguments": "{}"},
    ]


def test_thoughts_that_nobody_signed_do_not_go_back():
    assert len(write(HI, Message("assistant", [Thinking("Hm."), Text("Hi.")]))["input"]) == 2


def test_thoughts_that_nobody_may_see_go_back():
    item = write(HI, Message("assistant", [Thinking("", redacted=SEALED)]))["input"][1]

    assert item == {"type": "reasoning", "summary": [], "encrypted_content": "sealed"}


def test_a_refusal_goes_back_as_one():
    item = write(HI, Message("assistant", [Refusal("No.")]))["input"][1]

    assert item == said("assistant", {"type": "refusal", "refusal": "No."})


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (ToolResult("c", [Text("21"), Text("sunny")]), "21\n\nsunny"),
        (ToolResult("c", []), ""),
        (ToolResult("c", [Text("no such city")], failed=True), "Error: no such city"),
        (ToolResult("c", [Text("error: none")], failed=True), "error: none"),
        (
            ToolResult("c", [Text("Look:"), Media("image", "image/png", "QQ==")]),
            [
                {"type": "input_text", "text": "Look:"},
                {
                    "type": "input_image",
                    "image_url": "data:image/png;base64,QQ==",
                    "detail": "auto",
                },
            ],
        ),
    ],
)
def test_a_result_is_text_unless_there_is_more(result, output):
    item = write(HI, Message("user", [result]))["input"][1]

    assert item == {"type": "function_call_output", "call_id": "c", "output": output}


def test_results_come_before_what_is_said_with_them():
    turn = Message("user", [ToolResult("c", [Text("21")]), Text("And now?")])

    kinds = [item["type"] for item in write(turn)["input"]]

    assert kinds == ["function_call_output", "message"]


@pytest.mark.parametrize(
    ("media", "content"),
    [
        (
            Media("image", url="https://x.test/a.png", detail="low"),
            {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"},
        ),
        (
            Media("document", "application/pdf", "QQ==", name="a.pdf"),
            {
                "type": "input_file",
                "filename": "a.pdf",
                "file_data": "data:application/pdf;base64,QQ==",
            },
        ),
        (
            Media("document", url="https://x.test/a.pdf"),
            {"type": "input_file", "file_url": "https://x.test/a.pdf"},
        ),
    ],
)
def test_images_and_documents_are_sent(media, content):
    assert write(Message("user", [media]))["input"] == [said("user", content)]


def test_a_sound_is_dropped_by_name():
    sound = Media("audio", "audio/wav", "QQ==")
    assert dropped(Message("user", [sound, Text("?")])) == ["input_audio"]


def test_a_tool_that_failed_with_a_picture_has_failed_in_words_too():
    image = Media("image", "image/png", "QUJD")
    result = ToolResult("call_1", [Text("No such page."), image], failed=True)

    (item,) = write(Message("user", [result]))["input"]

    assert [part["type"] for part in item["output"]] == ["input_text", "input_image"]
    assert item["output"][0]["text"] == "Error: No such page."


def test_penalties_of_nothing_are_no_loss():
    assert dropped(HI, presence_penalty=0, frequency_penalty=0.0) == []


def test_a_model_that_thinks_anyway_is_said_to():
    off = {"reasoning": Reasoning(enabled=False)}
    drops = Drops(refuses=False)
    write(HI, capabilities=Capabilities(reasoning=True), drops=drops, **off)

    assert drops.names == ["reasoning_effort"]
    assert dropped(HI, **off) == []


def test_marks_for_a_cache_are_dropped_by_name():
    assert dropped(Message("user", [Text("Hi", cache="5m")])) == ["cache_control"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", 4),
        ("stop", ["x"]),
        ("seed", 7),
        ("presence_penalty", 0.5),
        ("frequency_penalty", 0.5),
        ("logit_bias", {"1": 2}),
        ("n", 2),
    ],
)
def test_what_the_format_has_no_place_for_is_dropped_by_name(field, value):
    assert dropped(**{field: value}) == [field]


def test_where_nothing_may_be_dropped_it_is_refused():
    with pytest.raises(UnsupportedParameter):
        write(seed=0, drops=Drops(refuses=True))


def test_figures_go_by_their_own_names():
    written = write(max_tokens=100, temperature=0.0, top_p=0.5, stream=True, user="u1")

    names = ("max_output_tokens", "temperature", "top_p", "stream", "user")
    assert [written[name] for name in names] == [100, 0.0, 0.5, True, "u1"]


def test_a_bound_that_openai_refuses_is_raised_to_its_least():
    assert write(max_tokens=1)["max_output_tokens"] == 16


def test_a_tool_is_not_strict_unless_it_is_asked_to_be():
    tools = [
        Tool("look", "Looks.", {"type": "object"}),
        Tool("see", parameters={"type": "object"}, strict=True),
        Tool("go"),
    ]

    first, second, third = write(tools=tools)["tools"]

    assert first == {
        "type": "function",
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object"},
        "strict": False,
    }
    assert second["strict"] is True
    assert third["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("named", "look"), {"type": "function", "name": "look"}),
    ],
)
def test_a_choice_of_tools_is_made(choice, written):
    assert write(tools=[Tool("look")], tool_choice=choice)["tool_choice"] == written


def test_several_calls_at_once_may_be_forbidden():
    assert write(tools=[Tool("look")], parallel_tools=False)["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        (ResponseFormat("json_object"), {"type": "json_object"}),
        (
            ResponseFormat("json_schema", "point", {"type": "object"}, True, "A point."),
            {
                "type": "json_schema",
                "name": "point",
                "schema": {"type": "object"},
                "strict": True,
                "description": "A point.",
            },
        ),
    ],
)
def test_the_form_of_the_answer_is_asked_for(asked, written):
    assert write(response_format=asked)["text"] == {"format": written}


@pytest.mark.parametrize(
    ("reasoning", "written"),
    [
        (Reasoning(effort="high"), {"effort": "high", "summary": "auto"}),
        (Reasoning(effort="low", shown=False), {"effort": "low"}),
        (Reasoning(budget_tokens=2048), {"effort": "low", "summary": "auto"}),
        (Reasoning(budget_tokens=16_384), {"effort": "medium", "summary": "auto"}),
        (Reasoning(budget_tokens=32_000), {"effort": "high", "summary": "auto"}),
        (Reasoning(), {"summary": "auto"}),
        (Reasoning(enabled=False, effort="none"), {"effort": "none"}),
    ],
)
def test_an_effort_is_asked_for_and_the_thoughts_to_go_on_from(reasoning, written):
    body = write(reasoning=reasoning)

    assert body["reasoning"] == written
    assert ("include" in body) is reasoning.enabled


def test_thinking_that_is_only_switched_off_is_not_mentioned():
    assert "reasoning" not in write(reasoning=Reasoning(enabled=False))


@pytest.mark.parametrize("reasons", [True, False, None])
def test_a_model_that_is_known_to_think_is_asked_for_what_seals_its_thoughts(reasons):
    body = write(capabilities=Capabilities(reasoning=reasons))

    assert ("include" in body) is (reasons is True)


def test_probabilities_are_asked_for():
    body = write(logprobs=True, top_logprobs=2)

    assert (body["include"], body["top_logprobs"]) == (["message.output_text.logprobs"], 2)
