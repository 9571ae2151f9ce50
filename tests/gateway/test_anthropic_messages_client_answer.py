"""What Anthropic's clients are told, of answers in any order."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import errors
from gateway.canonical import (
    Annotated,
    Ended,
    Finished,
    LogProbs,
    RefusalDelta,
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
from gateway.interpreter import TranslatingWatch
from lib.tokens import TokenUsage
from tests.gateway.validators import anthropic_messages as validator

STARTED = Started("chatcmpl-1", "gpt-4o")


def frames_of(*events, ended=True):
    """What each event has written, and at last the end."""
    writer = anthropic_messages.stream_writer({"model": "tiny"})
    frames = [writer.write(event) for event in events]
    return [*frames, writer.close()] if ended else frames


def told(*events):
    return validator.check(b"".join(frames_of(STARTED, *events)))


def events_in(stream):
    lines = [line for line in stream.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line[6:]) for line in lines]


def whole(*events):
    return anthropic_messages.write_response([STARTED, *events], {"model": "tiny"})


def call(index, *pieces, name="f", call_id=None):
    started = ToolCallStarted(index, call_id or f"call_{index}", name)
    return [started, *(ToolCallDelta(index, piece) for piece in pieces)]


def test_text_is_told_as_it_comes():
    started, hello, there, _ = frames_of(STARTED, TextDelta("Hello"), TextDelta(" there."))

    assert started == b""
    assert [event["type"] for event in events_in(hello)] == [
        "message_start", "content_block_start", "content_block_delta"
    ]  # fmt: skip
    assert there == (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":" there."}}\n\n'
    )


def test_the_message_has_an_id_of_the_formats_and_the_upstreams_model():
    (start, *_), *_ = map(events_in, frames_of(STARTED, TextDelta("a"))[1:])

    assert start["message"]["id"] == "msg_chatcmpl-1"
    assert start["message"]["model"] == "gpt-4o"


def test_an_answer_of_nothing_is_a_whole_message():
    answer = told()

    assert (answer.text, answer.finish, answer.complete) == ("", "stop", True)


def test_an_answer_without_a_beginning_has_one_all_the_same():
    answer = validator.check(b"".join(frames_of(TextDelta("a"), Finished("stop"))))

    assert answer.text == "a"


def test_each_kind_has_its_own_block():
    answer = told(
        ThinkingDelta("Hm."), ThinkingSigned("s"), ThinkingRedacted("d"), TextDelta("a"),
        *call(0, '{"x":1}'), TextDelta("b"), Finished("tool_calls"),
    )  # fmt: skip

    assert (answer.thinking, answer.text) == ("Hm.", "ab")
    assert answer.tool_calls == [{"id": "call_0", "name": "f", "arguments": {"x": 1}}]


def test_thoughts_after_a_signature_are_another_block():
    assert told(ThinkingDelta("a"), ThinkingSigned("s"), ThinkingDelta("b")).thinking == "ab"


def test_a_signature_without_thoughts_is_told():
    (_, start, delta), *_ = map(events_in, frames_of(STARTED, ThinkingSigned("s"))[1:])

    assert start["content_block"] == {"type": "thinking", "thinking": "", "signature": ""}
    assert delta["delta"] == {"type": "signature_delta", "signature": "s"}


def test_a_signature_of_nothing_is_not():
    assert told(ThinkingSigned(""), TextDelta("a")).text == "a"


def test_a_call_that_is_whole_makes_way_for_the_next_at_once():
    frames = frames_of(STARTED, *call(0, '{"a":', "1}"), *call(1, "{}"), ended=False)

    kinds = [event["type"] for event in events_in(frames[4])]
    assert kinds == ["content_block_stop", "content_block_start"]


def test_calls_that_come_in_turns_are_told_one_after_the_other():
    first, second = call(0, '{"a":', "1}"), call(1, '{"b":', "2}")
    turns = [event for pair in zip(first, second, strict=True) for event in pair]

    answer = told(*turns, Finished("tool_calls"))

    assert [(c["id"], c["arguments"]) for c in answer.tool_calls] == [
        ("call_0", {"a": 1}), ("call_1", {"b": 2})
    ]  # fmt: skip


def test_a_call_without_input_waits_for_none():
    answer = told(*call(0), *call(1, '{"b":2}'), Finished("tool_calls"))

    assert [c["arguments"] for c in answer.tool_calls] == [{}, {"b": 2}]


@given(st.data())
def test_calls_in_any_order_arrive_whole(data):
    inputs = data.draw(st.lists(st.dictionaries(st.text(), st.text(), max_size=2), max_size=3))
    queues = []
    for index, given_input in enumerate(inputs):
        text = json.dumps(given_input)
        size = data.draw(st.integers(1, 5))
        queues.append(call(index, *(text[i : i + size] for i in range(0, len(text), size))))
    events = []
    while any(queues):
        queue = data.draw(st.sampled_from([queue for queue in queues if queue]))
        events.append(queue.pop(0))
        if data.draw(st.booleans()):
            events.append(TextDelta("x"))

    answer = told(*events, Finished("tool_calls" if inputs else "stop"))

    by_id = {made["id"]: made["arguments"] for made in answer.tool_calls}
    assert by_id == {f"call_{index}": told_input for index, told_input in enumerate(inputs)}
    assert answer.text == "x" * sum(isinstance(event, TextDelta) for event in events)


def test_an_id_that_is_missing_is_made_and_a_signature_travels_in_it():
    answer = told(
        ToolCallStarted(0, "", "f"), ToolCallDelta(0, "{}"),
        ToolCallStarted(1, "call_1", "f", signature="s+/="), ToolCallDelta(1, "{}"),
    )  # fmt: skip

    made, signed = (made["id"] for made in answer.tool_calls)
    assert made.startswith("toolu_")
    assert signed == "call_1__sig__s+/="


@pytest.mark.parametrize(
    ("finished", "events", "reason", "met"),
    [
        (Finished("stop"), [], "end_turn", None),
        (Finished("stop", "END"), [], "stop_sequence", "END"),
        (Finished("length"), [], "max_tokens", None),
        (Finished("content_filter"), [], "refusal", None),
        (Finished("tool_calls"), call(0, "{}"), "tool_use", None),
        (Finished("stop"), call(0, "{}"), "tool_use", None),
        (Finished("tool_calls"), [], "end_turn", None),
        (Finished("budget_exceeded"), [], "max_tokens", None),
        (Finished("length"), call(0, '{"a'), "max_tokens", None),
    ],
)
def test_the_reason_to_stop_is_one_that_clients_know(finished, events, reason, met):
    *_, delta, stop = events_in(frames_of(STARTED, *events, finished)[-1])

    assert delta["delta"] == {"stop_reason": reason, "stop_sequence": met}
    assert stop == {"type": "message_stop"}
    assert whole(*events, finished)["stop_reason"] == reason


def test_the_usage_comes_with_the_end_in_the_formats_classes():
    used = TokenUsage(100, 60, 30, 9, 4, cache_write_1h_tokens=20, search_units=2)

    *_, delta, _ = events_in(frames_of(STARTED, Finished("stop"), UsageReported(used))[-1])

    assert delta["usage"] == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 60,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
    }


def test_usage_that_comes_first_is_told_first_too():
    first = frames_of(STARTED, UsageReported(TokenUsage(9), True), TextDelta("a"))[2]

    assert events_in(first)[0]["message"]["usage"]["input_tokens"] == 9


def test_sources_are_citations():
    cited = {"type": "url_citation", "url_citation": {"url": "https://x", "title": "X"}}
    events = [TextDelta("a"), Annotated(cited), Finished("stop")]

    assert told(*events).text == "a"
    (block,) = whole(*events)["content"]
    assert [citation["url"] for citation in block["citations"]] == ["https://x"]


def test_what_the_format_has_no_words_for_is_left_out():
    answer = told(TextDelta("a"), LogProbs([]), TextDelta("b", choice=1), Ended())

    assert answer.text == "a"


def test_a_refusal_is_text():
    assert told(RefusalDelta("No."), Finished("stop")).text == "No."


@pytest.mark.parametrize(
    ("arguments", "given_input"),
    [("", {}), ('{"a":1}', {"a": 1}), ('{"a', {"INVALID_JSON": '{"a'}),
     ("[1]", {"INVALID_JSON": "[1]"})],
)  # fmt: skip
def test_the_input_of_a_whole_call_is_an_object(arguments, given_input):
    (block,) = whole(*call(0, arguments))["content"]

    assert block["input"] == given_input


def test_a_whole_answer_has_its_blocks_in_order():
    message = whole(
        ThinkingDelta("Hm."), ThinkingSigned("s"), ThinkingRedacted("d"), TextDelta("a"),
        TextDelta("b"), *call(0, '{"x":1}'), Finished("tool_calls"),
        UsageReported(TokenUsage(5, output_tokens=3)),
    )  # fmt: skip

    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "ab"},
        {"type": "tool_use", "id": "call_0", "name": "f", "input": {"x": 1}},
    ]
    assert validator.check_whole(message).usage == {"input_tokens": 5, "output_tokens": 3}


def test_an_error_in_the_middle_ends_the_stream():
    writer = anthropic_messages.stream_writer({"model": "tiny"})
    stream = writer.write(TextDelta("a"))

    stream += writer.error_frame(errors.StreamInterrupted("Cut."), "id")

    assert not validator.check(stream).complete


def test_a_stream_whose_budget_is_used_up_ends_as_at_its_bound():
    watch = TranslatingWatch(None, anthropic_messages.stream_writer({"model": "tiny"}), "tiny")
    stream = watch._written([STARTED, *call(0, '{"a')])

    stream += watch.ending("budget_exceeded", TokenUsage(5, output_tokens=3))

    answer = validator.check(stream)
    assert (answer.finish, answer.complete) == ("length", True)
    assert answer.usage == {"input_tokens": 5, "output_tokens": 3}
