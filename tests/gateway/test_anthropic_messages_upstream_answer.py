"""Answers of vendors that speak Anthropic's format, as events."""

import pytest

from gateway.canonical import (
    Annotated,
    Ended,
    Failed,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.dialects.anthropic_messages import anthropic_messages
from lib.tokens import TokenUsage
from tests.gateway.anthropic_streams import STREAM, event, stream_of

ANSWER = "courier_json_answer"
CITATION = {"type": "web_search_result_location", "url": "https://x", "title": "X"}


def read(*frames):
    return list(anthropic_messages.stream_reader().read(b"".join(frames)))


def of_kind(kind, events):
    return [each for each in events if isinstance(each, kind)]


def block(*deltas, **content):
    """A block with its deltas."""
    return (
        event({"type": "content_block_start", "index": 0, "content_block": content}),
        *(event({"type": "content_block_delta", "index": 0, "delta": told}) for told in deltas),
        event({"type": "content_block_stop", "index": 0}),
    )


def whole(*content, stop_reason="end_turn", **more):
    body = {"id": "msg_1", "model": "m", "content": [*content], "stop_reason": stop_reason, **more}
    return anthropic_messages.read_response(body)


def partial(text):
    return {"type": "input_json_delta", "partial_json": text}


def test_a_stream_is_read_event_by_event():
    assert read(*STREAM) == [
        Started("msg_1", "alpha-tiny"),
        UsageReported(TokenUsage(7, output_tokens=1), before_output=True),
        TextDelta("Hello"),
        TextDelta(" there."),
        Finished("stop"),
        UsageReported(TokenUsage(7, output_tokens=3)),
        Ended(),
    ]


def test_a_signature_comes_after_its_thoughts_and_in_one_piece():
    deltas = [
        {"type": "thinking_delta", "thinking": "Hm."},
        {"type": "signature_delta", "signature": "a"},
        {"type": "signature_delta", "signature": "b"},
    ]

    assert read(*block(*deltas, type="thinking", thinking="", signature="")) == [
        ThinkingDelta("Hm."), ThinkingSigned("ab")
    ]  # fmt: skip


def test_calls_are_counted_from_zero_whatever_stands_between_them():
    text = block({"type": "text_delta", "text": "a"}, type="text", text="")
    call = block(partial(""), partial('{"a":1}'), type="tool_use", id="1", name="f", input={})

    events = read(*text, *call, *text, *call)

    assert [each.index for each in of_kind(ToolCallStarted, events)] == [0, 1]
    assert of_kind(ToolCallDelta, events) == [
        ToolCallDelta(0, '{"a":1}'),
        ToolCallDelta(1, '{"a":1}'),
    ]


def test_a_call_without_input_has_an_empty_object():
    events = read(*block(partial(""), type="tool_use", id="1", name="f", input={}))

    assert events == [ToolCallStarted(0, "1", "f"), ToolCallDelta(0, "{}")]


def test_what_the_vendors_servers_do_is_no_call_of_the_clients():
    search = block(partial('{"query":"x"}'), type="server_tool_use", id="1", name="s", input={})

    assert read(*search) == []


def test_sources_are_told_with_the_place_of_their_text():
    before = block({"type": "text_delta", "text": "12345"}, type="text", text="")
    cited = block(
        {"type": "citations_delta", "citation": CITATION},
        {"type": "citations_delta", "citation": {"type": "char_location"}},
        {"type": "text_delta", "text": "678"},
        type="text", text="", citations=[],
    )  # fmt: skip

    (annotated,) = of_kind(Annotated, read(*before, *cited))

    assert annotated.annotation == {
        "type": "url_citation",
        "url_citation": {"url": "https://x", "title": "X", "start_index": 5, "end_index": 8},
    }


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("pause_turn", "stop"),
        ("max_tokens", "length"), ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"), ("refusal", "content_filter"), ("invented", "stop"),
    ],
)  # fmt: skip
def test_reasons_to_stop_are_told_as_everywhere(told, reason):
    assert of_kind(Finished, read(*stream_of("a", stop_reason=told))) == [Finished(reason)]


def test_the_stop_sequence_that_was_met_is_told():
    (finished,) = of_kind(Finished, whole(stop_reason="stop_sequence", stop_sequence="END"))

    assert finished == Finished("stop", "END")


def test_an_answer_by_tool_is_the_text_that_was_asked_for():
    called = block(partial('{"a"'), partial(":1}"), type="tool_use", id="1", name=ANSWER, input={})

    events = read(*called, *stream_of(stop_reason="tool_use")[2:])

    assert of_kind(TextDelta, events) == [TextDelta('{"a"'), TextDelta(":1}")]
    assert of_kind(ToolCallStarted, events) == []
    assert of_kind(Finished, events) == [Finished("stop")]


def test_a_whole_answer_by_tool_is_too():
    events = whole(
        {"type": "tool_use", "id": "1", "name": ANSWER, "input": {"a": 1}}, stop_reason="tool_use"
    )

    assert events[1:] == [TextDelta('{"a":1}'), Finished("stop")]


def test_a_call_beside_the_answer_is_still_a_call():
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    answer = {"type": "tool_use", "id": "2", "name": ANSWER, "input": {}}

    assert whole(answer, call, stop_reason="tool_use")[-1] == Finished("tool_calls")


def test_a_whole_answer_is_read():
    events = whole(
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "a", "citations": [CITATION]},
        {"type": "tool_use", "id": "1", "name": "f", "input": {"b": "é"}},
        {"type": "tool_use", "id": "2", "name": "g", "input": {}},
        {"type": "hologram"},
        usage={"input_tokens": 7, "output_tokens": 3},
        stop_reason="tool_use",
    )

    assert [type(each) for each in events] == [
        Started, ThinkingDelta, ThinkingSigned, ThinkingRedacted, TextDelta, Annotated,
        ToolCallStarted, ToolCallDelta, ToolCallStarted, ToolCallDelta, Finished, UsageReported,
    ]  # fmt: skip
    assert of_kind(ToolCallDelta, events) == [ToolCallDelta(0, '{"b":"é"}'), ToolCallDelta(1, "{}")]


def test_a_failure_is_told_with_its_status():
    told = {"type": "rate_limit_error", "message": "Slow down."}

    assert read(event({"type": "error", "error": told})) == [Failed(told | {"status": 429})]


@pytest.mark.parametrize("data", [b"{", b"[]"])
def test_what_is_no_event_is_malformed(data):
    with pytest.raises(ValueError):
        read(b"event: x\ndata: " + data + b"\n\n")
