"""What the documentation shows of a described provider is what happens."""

import json
import re

import pytest

from gateway.canonical import ChatRequest, Ended, Finished, Message, Text, TextDelta, UsageReported
from gateway.dialects.base import Drops
from gateway.dialects.generic import GenericChat
from registry.generic import (
    OF_A_CALL,
    OF_A_HEADER,
    OF_A_MESSAGE,
    OF_A_TOOL,
    OF_AN_IMAGE,
    VALUES,
    WORDS,
    complaints,
    options_from,
)
from tests.gateway.targets import make_target
from tests.sources import CHECKOUT

PAGE = (CHECKOUT / "docs" / "generic-provider.md").read_text()


def block(name):
    return re.search(rf"<!-- {name} -->\n```json\n(.*?)```", PAGE, re.DOTALL)[1]


DESCRIPTION = json.loads(block("description"))


def dialect():
    return GenericChat(options_from(DESCRIPTION))


def test_the_description_is_sound():
    assert complaints(DESCRIPTION) == []


def test_the_example_is_asked_as_it_says():
    said = (("user", "Hello."), ("assistant", "Hi."), ("user", "Well?"))
    messages = [Message(role, [Text(text)]) for role, text in said]
    request = ChatRequest(messages, stream=True, max_tokens=9)
    drops = Drops(refuses=True)

    assert dialect().write_request(request, make_target(), drops) == json.loads(block("asked"))


def test_the_example_is_answered_as_it_says():
    framer, reader = dialect().framing(), dialect().stream_reader()

    _, *events = reader.read(framer.feed(block("answered").encode()))

    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == (
        "Fine, thanks."
    )
    assert Finished("stop") in events
    (usage,) = (event.usage for event in events if isinstance(event, UsageReported))
    assert (usage.input_tokens, usage.output_tokens) == (12, 4)
    assert events[-1] == Ended()


@pytest.mark.parametrize(
    "names",
    [(VALUES, WORDS), OF_A_MESSAGE, OF_AN_IMAGE, OF_A_CALL, OF_A_TOOL, OF_A_HEADER],
)
def test_every_placeholder_is_explained(names):
    missing = {name for some in names for name in some if f"`{name}`" not in PAGE}

    assert missing == set()
