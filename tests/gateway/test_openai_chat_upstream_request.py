"""What a vendor of chat completions is sent for clients of other formats."""

from types import SimpleNamespace

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
from gateway.dialects.openai_chat import openai_chat
from gateway.errors import BadRequest
from gateway.kinds import provider_of
from registry.capabilities import UNKNOWN

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def written(*messages, model="gpt-x", drops=None, **fields):
    messages = list(messages) or [Message("user", [Text("Hi")])]
    to = SimpleNamespace(upstream_model=model, capabilities=UNKNOWN)
    return openai_chat.write_request(
        ChatRequest(messages, **fields), to, drops or Drops(refuses=False)
    )


def message_of(*parts, role="user", **options):
    (message,) = written(Message(role, list(parts)), **options)["messages"]
    return message


def test_a_plain_request_says_nothing_more():
    assert written() == {"model": "gpt-x", "messages": [{"role": "user", "content": "Hi"}]}


def test_a_stream_is_asked_to_report_its_usage():
    body = written(stream=True)

    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_texts_alone_are_one_text():
    assert message_of(Text("One."), Text("Two."))["content"] == "One.\n\nTwo."


def test_what_a_model_said_is_joined_as_it_was():
    message = message_of(Text("One."), Refusal(" No."), role="assistant")

    assert message == {"role": "assistant", "content": "One. No."}


@pytest.mark.parametrize(
    ("media", "part"),
    [
        (
            Media("image", "image/png", "AAAA", detail="low"),
            {
                "type": "image_url",
                "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"},
            },
        ),
        (
            Media("image", url="https://x.test/a.png"),
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        ),
        (
            Media("audio", "audio/mpeg", "AAAA"),
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        ),
        (
            Media("document", "application/pdf", "AAAA"),
            {
                "type": "file",
                "file": {
                    "filename": "document.pdf",
                    "file_data": "data:application/pdf;base64,AAAA",
                },
            },
        ),
    ],
)
def test_media_are_parts(media, part):
    assert message_of(Text("See:"), media)["content"] == [{"type": "text", "text": "See:"}, part]


def test_a_document_of_text_is_text():
    media = Media("document", "text/plain", "SGVsbG8=", name="a.txt")

    assert message_of(media)["content"] == "a.txt\n\nHello"


def test_a_document_that_is_no_base64_is_refused():
    with pytest.raises(BadRequest):
        message_of(Media("document", "text/plain", "?"))


@pytest.mark.parametrize(
    "media", [Media("document", url="https://x.test/a.pdf"), Media("audio", url="https://x.test/a")]
)
def test_media_that_have_no_place_are_noted(media):
    drops = Drops(refuses=False)

    assert message_of(Text("See:"), media, drops=drops)["content"] == "See:"
    assert drops.names == [{"document": "file", "audio": "input_audio"}[media.kind]]


def test_calls_and_results_are_messages_of_their_own():
    call = ToolCall("call_1", "f", '{"a":1}', signature="c2ln")
    image = Media("image", url="https://x.test/a.png")
    results = [
        ToolResult("call_1", [Text("42"), image]),
        ToolResult("call_2", [Text("It broke.")], failed=True),
    ]

    body = written(Message("assistant", [call]), Message("user", [*results, Text("Go on.")]))

    function = {"name": "f", "arguments": '{"a":1}'}
    assert body["messages"] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        {"role": "tool", "tool_call_id": "call_2", "content": "Error: It broke."},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
                {"type": "text", "text": "Go on."},
            ],
        },
    ]


def test_a_signature_of_a_call_goes_back_to_the_models_that_make_them():
    call = ToolCall("call_1", "f", "{}", signature="c2ln")

    message = message_of(call, role="assistant", model="google/gemini-3-pro")

    (sent,) = message["tool_calls"]
    assert sent["extra_content"] == {"google": {"thought_signature": "c2ln"}}


def test_thoughts_without_a_signature_go_back_as_they_came():
    message = message_of(Thinking("Hm."), Text("Yes."), role="assistant")

    assert message == {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}


def test_signed_thoughts_go_back_to_the_models_that_sign():
    thoughts = [Thinking("Hm.", "c2ln"), Thinking("", redacted="ZGF0YQ==")]

    message = message_of(*thoughts, Text("Yes."), role="assistant", model="anthropic/claude-x")

    assert message["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "index": 0},
        {"type": "reasoning.encrypted", "data": "ZGF0YQ==", "index": 1},
    ]


def test_signed_thoughts_go_to_no_other_model():
    message = message_of(Thinking("Hm.", "c2ln"), Text("Yes."), role="assistant")

    assert message == {"role": "assistant", "content": "Yes."}


def test_thoughts_alone_are_no_message():
    body = written(Message("assistant", [Thinking("Hm.", "c2ln")]), Message("user", [Text("Hi")]))

    assert [message["role"] for message in body["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("cache", "mark"),
    [("5m", {"type": "ephemeral"}), ("1h", {"type": "ephemeral", "ttl": "1h"})],
)
def test_marks_for_caching_go_to_models_that_know_them(cache, mark):
    message = message_of(Text("Long.", cache), model="anthropic/claude-x")

    assert message["content"] == [{"type": "text", "text": "Long.", "cache_control": mark}]


def test_marks_for_caching_are_noted_where_they_have_no_place():
    drops = Drops(refuses=False)

    assert message_of(Text("Long.", "5m"), drops=drops)["content"] == "Long."
    assert drops.names == ["cache_control"]


def test_sampling_is_written():
    fields = {
        "max_tokens": 5, "temperature": 0.0, "top_p": 0.5, "top_k": 3, "stop": ["x"], "seed": 0,
        "presence_penalty": 1.0, "frequency_penalty": -1.0, "n": 2, "logprobs": True,
        "top_logprobs": 4, "logit_bias": {"5": -100}, "user": "u",
    }  # fmt: skip

    body = written(**fields)

    assert {name: body[name] for name in fields} == fields


def test_tools_are_written():
    body = written(
        tools=[Tool("f", "d", SCHEMA, True), Tool("g")],
        tool_choice=ToolChoice("named", "f"),
        parallel_tools=False,
    )

    f = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
    g = {"name": "g", "parameters": {"type": "object", "properties": {}}}
    assert body["tools"] == [{"type": "function", "function": each} for each in (f, g)]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert body["parallel_tool_calls"] is False


def test_a_choice_without_tools_is_none():
    body = written(tool_choice=ToolChoice("auto"), parallel_tools=True)

    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body.keys()


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (ResponseFormat("json_object"), {"type": "json_object"}),
        (
            ResponseFormat("json_schema", "n", SCHEMA, True),
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
        ),
    ],
)
def test_the_form_of_the_answer_is_written(asked, sent):
    assert written(response_format=asked)["response_format"] == sent


@pytest.mark.parametrize(
    ("reasoning", "effort"),
    [
        (Reasoning(effort="high"), "high"),
        (Reasoning(budget_tokens=4000), "low"),
        (Reasoning(budget_tokens=10_000), "medium"),
        (Reasoning(budget_tokens=31_999), "high"),
        (Reasoning(effort="low", budget_tokens=31_999), "low"),
        (Reasoning(False, "none"), "none"),
        (Reasoning(False), None),
        (Reasoning(), None),
        (None, None),
    ],
)
def test_an_effort_is_written_where_one_is_asked_for(reasoning, effort):
    assert written(reasoning=reasoning).get("reasoning_effort") == effort


# What kinds of vendors want otherwise


def sent_to(kind, *messages, **fields):
    drops = Drops(refuses=False)
    body = written(*messages, drops=drops, **fields)
    for quirk in provider_of(kind).translated_quirks:
        quirk(body, drops)
    return body, drops.names


@pytest.mark.parametrize("kind", ["openai", "azure"])
def test_openai_bounds_thoughts_and_words_together(kind):
    body, _ = sent_to(kind, max_tokens=5)

    assert (body.get("max_tokens"), body["max_completion_tokens"]) == (None, 5)


@pytest.mark.parametrize("kind", ["openai_compatible", "vllm", "ollama"])
def test_others_know_the_older_bound(kind):
    body, _ = sent_to(kind, max_tokens=5)

    assert (body["max_tokens"], body.get("max_completion_tokens")) == (5, None)


@pytest.mark.parametrize("kind", ["openai", "openai_compatible", "ollama"])
def test_top_k_is_left_out_and_noted_where_it_may_be_unknown(kind):
    body, names = sent_to(kind, top_k=5)

    assert ("top_k" in body, names) == (False, ["top_k"])


def test_top_k_is_sent_to_vllm():
    body, names = sent_to("vllm", top_k=5)

    assert (body["top_k"], names) == (5, [])


def test_openai_gets_no_thoughts_back():
    message = Message("assistant", [Thinking("Hm."), Text("Yes.")])

    body, _ = sent_to("openai", message)

    assert body["messages"] == [{"role": "assistant", "content": "Yes."}]
