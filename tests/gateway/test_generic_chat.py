"""What a described format reads, and that nothing that is answered can break it."""

import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.canonical import (
    Ended,
    Failed,
    Finished,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.dialects.generic import GenericChat
from lib.tokens import TokenUsage
from registry.generic import examples, options_from

CALLS = {
    "items": "calls",
    "index": "n",
    "id": "id",
    "name": "name",
    "arguments": "arguments",
}
USAGE = {
    "input": "in",
    "output": "out",
    "cached": "cached",
    "cache_write": "written",
    "reasoning": "thought",
}
PLACES = {"text": "text", "tool_calls": CALLS, "finish": "finish", "error": "error"}


def dialect(stream=None, usage=USAGE):
    return GenericChat(
        options_from(
            {
                "request": {"path": "/", "body": {}},
                "response": {**PLACES, "usage": usage},
                "stream": {"format": "ndjson", **PLACES, "usage": usage, **(stream or {})},
            }
        )
    )


def streamed(*events, **stream):
    """The events that these lines are read as, without the start."""
    told = dialect(stream)
    framer, reader = told.framing(), told.stream_reader()
    frames = framer.feed(b"".join(orjson.dumps(event) + b"\n" for event in events))
    _, *read = [*reader.read(frames), *reader.close()]
    return read


def usage_in(usage=USAGE, **told):
    events = dialect(usage=usage).read_response({"text": "Hi.", **told})
    return next((event.usage for event in events if isinstance(event, UsageReported)), None)


def test_pieces_of_mixed_calls_find_their_call():
    events = streamed(
        {"calls": [{"n": 0, "id": "a", "name": "x"}, {"n": 1, "id": "b", "name": "y"}]},
        {"calls": [{"n": 1, "arguments": "{}"}, {"n": 0, "arguments": "["}]},
        {"calls": [{"n": 0, "arguments": "]"}, {"n": 7, "arguments": "?"}], "finish": "stop"},
    )

    assert events == [
        ToolCallStarted(0, "a", "x"),
        ToolCallStarted(1, "b", "y"),
        ToolCallDelta(1, "{}"),
        ToolCallDelta(0, "["),
        ToolCallDelta(0, "]"),
        Finished("tool_calls"),
        Ended(),
    ]


def test_a_stream_that_names_no_reason_is_not_complete():
    assert streamed({"text": "Hi"}) == [TextDelta("Hi")]


def test_with_a_mark_of_its_own_a_reason_alone_does_not_complete_a_stream():
    read = streamed({"text": "Hi", "finish": "stop"}, done={"path": "end"})

    assert read == [TextDelta("Hi"), Finished("stop")]


@pytest.mark.parametrize(
    ("equals", "value", "ends"),
    [
        (None, True, True),
        (None, "x", True),
        (None, 0, True),
        (None, False, False),
        (None, None, False),
        (True, True, True),
        (True, 1, False),
        (1, True, False),
        ("end", "end", True),
        ("end", "END", False),
    ],
)
def test_a_mark_is_a_value(equals, value, ends):
    done = {"path": "mark", "equals": equals}

    assert (Ended() in streamed({"text": "Hi", "mark": value}, done=done)) is ends


def test_nothing_is_read_after_the_mark():
    read = streamed({"text": "Hi", "end": 1}, {"text": "more"}, done={"path": "end"})

    assert read == [TextDelta("Hi"), Finished("stop"), Ended()]


@pytest.mark.parametrize("error", ["Broken.", {"text": "Broken."}, ["Broken."]])
def test_an_error_in_a_stream_is_one_whatever_it_is(error):
    (failed,) = streamed({"text": "Hi"}, {"error": error, "text": "?"})[1:]

    assert isinstance(failed, Failed)
    assert "Broken." in failed.error["message"]


@pytest.mark.parametrize("error", [None, False, ""])
def test_an_empty_error_is_none(error):
    assert streamed({"text": "Hi", "error": error})[0] == TextDelta("Hi")


def test_usage_is_in_classes():
    told = {"in": 10, "cached": 4, "written": 2, "out": 5, "thought": 3}

    assert usage_in(**told) == TokenUsage(
        input_tokens=10,
        cached_input_tokens=4,
        cache_write_tokens=2,
        output_tokens=5,
        reasoning_tokens=3,
    )


def test_what_is_counted_beside_is_added():
    beside = USAGE | {"input_includes_cached": False, "output_includes_reasoning": False}
    told = {"in": 10, "cached": 4, "written": 2, "out": 5, "thought": 3}

    usage = usage_in(beside, **told)

    assert (usage.input_tokens, usage.output_tokens) == (16, 8)


@pytest.mark.parametrize(
    "told",
    [{"in": 10}, {"out": 5}, {"in": 0, "out": 0}, {"in": "10", "out": 5}, {"in": True, "out": 5}],
)
def test_half_a_usage_is_none(told):
    assert usage_in(**told) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["text", "calls", "n", "id", "name", "arguments", "finish", "error", "in", "out"]
                + ["message", "content", "delta", "function", "tool_calls", "token", "done", "type"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
DESCRIBED = [dialect(), *(GenericChat(options_from(each.options)) for each in examples())]
described = pytest.mark.parametrize("told", DESCRIBED)


@described
@given(body=JSON)
def test_a_whole_answer_of_anything_is_read(told, body):
    told.failure_in(body)
    if told.is_answer(body):
        told.read_response(body)


@described
@given(events=st.lists(JSON, max_size=4))
def test_a_stream_of_anything_is_read(told, events):
    reader = told.stream_reader()
    for event in events:
        with contextlib.suppress(ValueError):
            list(reader.read(b"data: " + orjson.dumps(event) + b"\n\n"))
    list(reader.close())


@described
@given(pieces=st.lists(st.binary(max_size=40), max_size=4))
def test_a_stream_of_any_bytes_is_read_or_malformed(told, pieces):
    framer, reader = told.framing(), told.stream_reader()
    with contextlib.suppress(ValueError):
        for piece in pieces:
            list(reader.read(framer.feed(piece)))
        list(reader.read(framer.last()))
