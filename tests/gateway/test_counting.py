"""Against what the makers themselves say that a request is, where they publish an example."""

import base64
import struct

import pytest

from gateway import counting
from gateway.canonical import (
    ChatRequest,
    EmbeddingsRequest,
    Media,
    Message,
    RerankRequest,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

#: github.com/openai/openai-cookbook, "How to count tokens with tiktoken".
JARGON = (
    ("system", "You are a helpful, pattern-following assistant that translates corporate jargon "
               "into plain English.", ""),
    ("system", "New synergies will help drive top-line growth.", "example_user"),
    ("system", "Things working well together will increase revenue.", "example_assistant"),
    ("system", "Let's circle back when we have more bandwidth to touch base on opportunities for "
               "increased leverage.", "example_user"),
    ("system", "Let's talk later when we're less busy about how to do better.",
               "example_assistant"),
    ("user", "This late pivot means we don't have time to boil the ocean for the client "
             "deliverable.", ""),
)  # fmt: skip
WEATHER = Tool(
    "get_current_weather",
    "Get the current weather in a given location",
    {
        "type": "object",
        "properties": {
            "location": {
                "type": "string",
                "description": "The city and state, e.g. San Francisco, CA",
            },
            "unit": {
                "type": "string",
                "description": "The unit of temperature to return",
                "enum": ["celsius", "fahrenheit"],
            },
        },
        "required": ["location"],
    },
)


def said(role, text, name=""):
    return Message(role, [Text(text)], name)


def asked(*parts, **fields):
    return ChatRequest([Message("user", list(parts))], **fields)


def png(width, height, detail=""):
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return Media("image", "image/png", base64.b64encode(head).decode(), detail=detail)


@pytest.mark.parametrize(("model", "tokens"), [("gpt-4", 129), ("gpt-4o", 124)])
def test_openai_s_example_of_messages_is_exact(model, tokens):
    assert counting.count(ChatRequest([said(*each) for each in JARGON]), model) == tokens


@pytest.mark.parametrize(("model", "tokens"), [("gpt-4", 105), ("gpt-4o", 101)])
def test_openai_s_example_of_tools_is_exact(model, tokens):
    rule = "You are a helpful assistant that can answer to questions about the weather."
    messages = [said("system", rule), said("user", "What's the weather like in San Francisco?")]

    assert counting.count(ChatRequest(messages, tools=[WEATHER]), model) == tokens


def test_anthropic_s_examples_are_near():
    scientist = [said("system", "You are a scientist"), said("user", "Hello, Claude")]
    tool = Tool(
        "get_weather",
        "Get the current weather in a given location",
        {
            "type": "object",
            "properties": {"location": WEATHER.parameters["properties"]["location"]},
            "required": ["location"],
        },
    )
    weather = [said("user", "What's the weather like in San Francisco?")]

    assert abs(counting.count(ChatRequest(scientist), "claude-opus-4-5") - 14) <= 2
    counted = counting.count(ChatRequest(weather, tools=[tool]), "claude-sonnet-4")
    assert counted == pytest.approx(403, rel=0.02)


@pytest.mark.parametrize("model", ["gpt-4o", "claude-3", "gemini-2.5-pro", "qwen3", "deepseek-v3"])
@pytest.mark.parametrize(
    "part",
    [
        Text("And more."),
        Thinking("I should look."),
        ToolCall("1", "weather", '{"city": "Seoul"}'),
        ToolResult("1", [Text("Sunny, and windy too.")]),
        ToolResult("1", [png(300, 300)]),
        png(300, 300),
        Media("audio", "audio/mpeg", "A" * 64_000),
        Media("document", "application/pdf", "A" * 64_000),
        Media("document", "text/plain", base64.b64encode(b"Some words.").decode()),
        Media("image", url="https://example.com/a.png"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_every_part_counts(model, part):
    assert counting.count(asked(Text("Hi"), part), model) > counting.count(asked(Text("Hi")), model)


@pytest.mark.parametrize("model", ["gpt-4o", "claude-3", "gemini-2.5-pro", "qwen3"])
def test_what_is_read_beside_the_messages_counts(model):
    plain = counting.count(asked(Text("Hi")), model)
    form = ResponseFormat("json_schema", schema={"type": "object"})

    assert counting.count(asked(Text("Hi"), tools=[WEATHER]), model) > plain + 20
    assert counting.count(asked(Text("Hi"), response_format=form), model) > plain


@pytest.mark.parametrize(
    ("part", "words"),
    [(ToolCall("1", "go", "{}"), ["go", "{}"]), (ToolResult("1", [Text("done")]), ["done"])],
)
def test_marks_stand_around_calls_and_their_results(part, words):
    plain = counting.count(asked(*map(Text, words)), "gpt-4o")

    assert counting.count(asked(part), "gpt-4o") - plain == counting.MARKS_PER_CALL


def test_an_image_that_is_looked_at_roughly_is_cheaper():
    fine, rough = asked(png(2000, 2000)), asked(png(2000, 2000, "low"))

    assert counting.count(fine, "gpt-4o") - counting.count(rough, "gpt-4o") == 4 * 170


def test_vectors_are_counted_of_texts_and_of_tokens():
    assert counting.count(EmbeddingsRequest(["hello world", [1, 2, 3]]), "gpt-4o") == 5


def test_a_query_is_counted_with_each_document():
    request = RerankRequest("hello world", ["one", "two", "three"])

    assert counting.count(request, "gpt-4o") == 3 * 2 + 3


def test_a_conversation_without_end_is_counted_in_a_bounded_time():
    long = asked(*[Text("word " * 1000)] * 2000)

    assert counting.count(long, "claude-3") > 1_000_000
