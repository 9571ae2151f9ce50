import base64
import struct

import pytest

from gateway import counting
from gateway.canonical import ChatRequest, Media, Message, Text, Tool, ToolCall, ToolResult


def asked(*parts, **fields):
    return ChatRequest([Message("user", list(parts))], **fields)


def png(width, height):
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return Media("image", "image/png", base64.b64encode(head).decode())


def test_more_words_are_more_tokens():
    few, many = asked(Text("one two")), asked(Text("one two three four five"))

    assert counting.count(many, "gpt-4o") - counting.count(few, "gpt-4o") == 3


@pytest.mark.parametrize(
    "part",
    [
        ToolCall("1", "weather", '{"city": "Seoul"}'),
        ToolResult("1", [Text("Sunny, and windy too.")]),
        ToolResult("1", [png(300, 300)]),
        png(300, 300),
    ],
)
def test_every_part_counts(part):
    assert counting.count(asked(Text("Hi"), part), "m") > counting.count(asked(Text("Hi")), "m")


def test_tools_count():
    tool = Tool("weather", "How it is outside", {"type": "object"})

    assert counting.count(asked(tools=[tool]), "m") > counting.count(asked(), "m") + 8
