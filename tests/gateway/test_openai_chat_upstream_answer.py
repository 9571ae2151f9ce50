"""What is read of chat completions that vendors answer with, beside what the wire cases show."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.canonical import (
    Annotated,
    Ended,
    Failed,
    Finished,
    LogProbs,
    Media,
    MediaMade,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.dialects.openai_chat import openai_chat
from gateway.sse import Framer
from lib.tokens import TokenUsage
from tests.fakes.upstream import DONE, OPENING, STOP, USAGE, chunk, frame

STARTED = Started("chatcmpl-1", "model")


def read(*frames):
    return list(openai_chat.stream_reader().read(b"".join(frames)))


def said(delta=None, finish=None, index=0, **more):
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish, **more}
    return frame({"id": "chatcmpl-1", "model": "model", "choices": [choice]})


def events_of(delta, **more):
    """The events of one delta, without those of the opening."""
    return read(said(delta, **more))[1:]


def test_a_stream_is_read_from_its_opening_to_its_end():
    assert read(OPENING, chunk("Hi"), STOP, USAGE, DONE) == [
        STARTED,
        TextDelta("Hi"),
        Finished("stop"),
        UsageReported(TokenUsage(7, output_tokens=3)),
        Ended(),
    ]


@pytest.mark.parametrize(
    ("reason", "read_as"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("anything", "stop"),
    ],
)
def test_reasons_to_finish_are_known_by_their_many_names(reason, read_as):
    assert events_of({}, finish=reason) == [Finished(read_as)]


def test_the_stop_sequence_is_read_where_it_is_told():
    assert events_of({}, finish="stop", stop_reason="\n\n") == [Finished("stop", "\n\n")]


@pytest.mark.parametrize("stop_reason", [None, 128001])
def test_a_stop_token_is_no_sequence(stop_reason):
    assert events_of({}, finish="stop", stop_reason=stop_reason) == [Finished("stop")]


def test_a_usual_stop_after_calls_is_for_the_calls():
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}

    *_, finished = read(said({"tool_calls": [call]}), said(finish="stop"))
    assert finished == Finished("tool_calls")


def test_googles_signature_stays_with_its_call():
    call = {
        "id": "c",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": "c2ln"}},
    }

    assert events_of({"tool_calls": [call]}) == [
        ToolCallStarted(0, "c", "f", "c2ln"),
        ToolCallDelta(0, "{}"),
    ]


def test_calls_without_an_id_get_one_each():
    calls = [{"index": n, "function": {"name": "f", "arguments": "{}"}} for n in range(2)]

    ids = [e.id for e in events_of({"tool_calls": calls}) if isinstance(e, ToolCallStarted)]
    assert len(set(filter(None, ids))) == 2


@pytest.mark.parametrize(
    ("delta", "events"),
    [
        ({"reasoning_content": "Hm."}, [ThinkingDelta("Hm.")]),
        ({"reasoning": "Hm."}, [ThinkingDelta("Hm.")]),
        ({"reasoning": "Hm.", "reasoning_content": "Hm."}, [ThinkingDelta("Hm.")]),
        ({"reasoning": {"effort": "low"}}, []),
        ({"reasoning_details": [{"text": "Hm."}]}, [ThinkingDelta("Hm.")]),
        ({"reasoning_details": [{"signature": "c2ln"}]}, [ThinkingSigned("c2ln")]),
        (
            {"reasoning_details": [{"type": "reasoning.encrypted", "data": "ZGF0YQ=="}]},
            [ThinkingRedacted("ZGF0YQ==")],
        ),
        (
            {"reasoning_details": [{"format": "openai-responses-v1", "data": "ZGF0YQ=="}]},
            [],
        ),
        ({"reasoning_details": [{"format": 5, "data": "ZGF0YQ=="}]}, []),
        (
            {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "c2ln"}]},
            [ThinkingSigned("c2ln")],
        ),
        (
            {"thinking_blocks": [{"type": "redacted_thinking", "data": "ZGF0YQ=="}]},
            [ThinkingRedacted("ZGF0YQ==")],
        ),
    ],
)
def test_thoughts_are_read_by_their_many_names(delta, events):
    assert events_of(delta) == events


def test_sources_images_and_sounds_are_read():
    source = {"type": "url_citation", "url_citation": {"url": "https://x.test"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

    assert events_of(
        {
            "annotations": [source],
            "images": [image, {"image_url": {"url": "https://x.test/a.png"}}],
            "audio": {"transcript": "Hi", "data": "BBBB"},
        }
    ) == [
        Annotated(source),
        MediaMade(Media("image", "image/png", "AAAA")),
        MediaMade(Media("image", url="https://x.test/a.png")),
        TextDelta("Hi"),
        MediaMade(Media("audio", data="BBBB")),
    ]


def test_logprobs_follow_their_words():
    token = {"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": []}

    assert events_of({"content": "Hi"}, logprobs={"content": [token]}) == [
        TextDelta("Hi"),
        LogProbs([token]),
    ]


@pytest.mark.parametrize(
    ("error", "failure"),
    [("Overloaded.", {"message": "Overloaded."}), ({"code": 529}, {"code": 529})],
)
def test_an_error_in_the_stream_is_a_failure(error, failure):
    assert read(frame({"error": error}), DONE) == [Failed(failure)]


def test_a_stream_without_its_marker_is_not_complete():
    reader = openai_chat.stream_reader()
    events = [*reader.read(OPENING + chunk("Hi") + STOP), *reader.close()]

    assert not any(isinstance(event, Ended) for event in events)


@pytest.mark.parametrize("data", [b"{not json", b"[]", b'"text"', b"7", b"\xff"])
def test_a_malformed_chunk_is_refused(data):
    with pytest.raises(ValueError):
        read(sse.frame_of(data))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["index", "delta", "message", "content", "tool_calls", "function", "name", "id"]
                + ["arguments", "reasoning", "reasoning_details", "thinking_blocks", "format"]
                + ["data", "signature", "annotations", "images", "image_url", "url", "audio"]
                + ["logprobs", "finish_reason", "usage", "x_groq", "extra_content", "google"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@given(choices=anything, more=anything)
def test_whatever_a_vendor_sends_is_read_or_malformed(choices, more):
    body = {"id": more, "model": more, "choices": [choices, {"delta": choices}], "usage": more}
    whole = {"id": more, "choices": [choices, {"message": choices}], "usage": more}
    try:
        read(frame(body))
        openai_chat.read_response(whole)
    except ValueError:
        pass


# However the network cuts it

words = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=8)
comments = st.sampled_from([": x", ":", "event: message", "id: 1", "retry: 5"])


@st.composite
def streams(draw):
    """Words, and a stream that says them, as odd as a standard's reader must take it."""
    said = draw(st.lists(words, min_size=1, max_size=6))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    frames = [_odd_frame(draw, {"content": word}, end) for word in said]
    frames.append(_odd_frame(draw, {}, end, finish="stop"))
    return said, "".join([*frames, f"data: [DONE]{end}{end}"]).encode()


def _odd_frame(draw, delta, end, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    text = json.dumps({"id": "1", "choices": [choice]}, ensure_ascii=draw(st.booleans()), indent=1)
    lines = [f"data:{draw(st.sampled_from(['', ' ']))}{line}" for line in text.split("\n")]
    lines.insert(draw(st.integers(0, len(lines))), draw(comments))
    return end.join(lines) + end + end


@given(streams(), st.lists(st.integers(0, 3000), max_size=12))
def test_any_stream_is_read_however_it_is_cut(told, cuts):
    said, stream = told
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    framer, reader = Framer(), openai_chat.stream_reader()

    events = []
    for start, stop in zip(edges, edges[1:], strict=False):
        events += reader.read(framer.feed(stream[start:stop]))

    assert [event.text for event in events if isinstance(event, TextDelta)] == said
    assert isinstance(events[-1], Ended)


@pytest.mark.parametrize("size", [1000, 16 * 1024, 1024 * 1024])
def test_a_line_of_nearly_a_mebibyte_is_one_event(size):
    word = "\N{GRINNING FACE}" * (sse.LONGEST_FRAME // 4 - 100)
    body = {"choices": [{"index": 0, "delta": {"content": word}}]}
    raw = sse.frame_of(json.dumps(body, ensure_ascii=False).encode()) + DONE
    framer, reader = Framer(), openai_chat.stream_reader()

    events = []
    for start in range(0, len(raw), size):
        events += reader.read(framer.feed(raw[start : start + size]))

    assert [event.text for event in events if isinstance(event, TextDelta)] == [word]
