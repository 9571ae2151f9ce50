import pytest

from gateway import bill
from gateway.dialects import openai_media
from gateway.dialects.openai_images import openai_images
from gateway.dialects.openai_media import EventFramer, EventWatch, media_usage
from gateway.dialects.openai_speech import SLACK, openai_speech
from gateway.sse import FrameTooLong
from lib.tokens import TokenUsage
from tests.fakes.upstream import DONE, frame


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (
            {"input_tokens": 9, "output_tokens": 4, "input_token_details": {"audio_tokens": 7}},
            TokenUsage(input_tokens=9, output_tokens=4, audio_input_tokens=7),
        ),
        (
            {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 3, "image_tokens": 5}},
            TokenUsage(input_tokens=9, cached_input_tokens=3),
        ),
        (
            {"input_tokens": 2, "input_token_details": {"audio_tokens": 7}},
            TokenUsage(input_tokens=2, audio_input_tokens=2),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 4}, TokenUsage(input_tokens=9, output_tokens=4)),
        (None, None),
        ("many", None),
    ],
)
def test_usage_is_read_in_either_form(told, usage):
    assert media_usage(told) == usage


EVENTS = frame({"type": "a"}) + b'event: b\r\ndata: {"type": "b"}\r\n\r\n' + frame({"type": "c"})


def test_events_are_cut_at_their_ends_wherever_the_network_cuts():
    for cut in range(len(EVENTS)):
        framer = EventFramer()
        whole = framer.feed(EVENTS[:cut])
        assert (whole.endswith((b"\n\n", b"\r\n\r\n")) or not whole) is True
        assert (whole + framer.feed(EVENTS[cut:]), framer.rest) == (EVENTS, b"")


def test_what_has_not_ended_is_kept():
    framer = EventFramer()

    assert (framer.feed(EVENTS + b"data: {"), framer.rest) == (EVENTS, b"data: {")


def test_an_event_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(openai_media, "LONGEST_EVENT", 10)

    with pytest.raises(FrameTooLong):
        EventFramer().feed(b"data: 12345678")


def watch(dialect=openai_images, results=1):
    return EventWatch(dialect, results)


COMPLETED = frame({"type": "image_generation.completed", "b64_json": "A"})
PARTIAL = frame({"type": "image_generation.partial_image", "b64_json": "A"})


def test_a_result_that_may_be_the_last_is_held_back():
    stream = watch(results=2)

    assert (stream.see(COMPLETED), stream.see(PARTIAL)) == (b"", COMPLETED + PARTIAL)


def test_what_was_held_back_comes_with_the_end():
    stream = watch(results=2)
    stream.see(COMPLETED)

    assert (stream.close(), stream.is_complete) == (COMPLETED, True)


def test_a_stream_without_a_result_is_not_complete():
    stream = watch()
    stream.see(PARTIAL)

    assert (stream.close(), stream.is_complete) == (b"", False)


def test_every_image_is_counted_with_its_own_tokens():
    stream = watch(results=2)
    told = {"type": "image_generation.completed", "usage": {"input_tokens": 2, "output_tokens": 5}}

    stream.see(frame(told) + frame(told))

    assert stream.usage == TokenUsage(input_tokens=4, output_tokens=10, images=2)


def test_the_marker_of_others_is_an_end_too():
    stream = watch(openai_speech)

    assert (stream.see(PARTIAL + DONE), stream.is_complete) == (PARTIAL + DONE, True)


@pytest.mark.parametrize(
    "error", [{"error": {"message": "no"}}, {"type": "error", "message": "no"}, {"error": "no"}]
)
def test_an_error_is_a_failure(error):
    stream = watch()
    stream.see(frame(error))

    assert (stream.failure or {}).get("message", "no") == "no"
    assert stream.failure is not None
    assert not stream.has_output


@pytest.mark.parametrize("data", ["[1]", "{", "5"])
def test_what_is_no_event_is_malformed(data):
    with pytest.raises(ValueError):
        watch().see(frame(data))


@pytest.mark.parametrize(
    ("asked", "tokens"),
    [
        ({}, 6240),
        ({"quality": "low", "size": "1024x1024"}, 272),
        ({"quality": "medium", "size": "1024x1536", "n": 3}, 3 * 1584),
        ({"quality": "high", "size": "1024x1024", "partial_images": 2}, 4360),
    ],
)
def test_what_images_can_take_is_held(asked, tokens):
    assert openai_images.usual_output(asked, 0) == tokens


def test_more_is_held_than_is_usually_spoken():
    assert openai_speech.usual_output({"input": "x" * 1800}, 0) == 3750 + SLACK


@pytest.mark.parametrize(
    ("dialect", "asked"),
    [
        (openai_images, {"quality": "low", "size": "1024x1024"}),
        (openai_speech, {"input": ""}),
    ],
)
def test_a_hold_for_what_is_no_text_is_never_extended(dialect, asked):
    estimate = dialect.watch(asked).output_estimate()

    assert estimate + bill.MARGIN <= dialect.usual_output(asked, bill.UNBOUNDED_HOLD)


def test_instructions_are_input_too():
    assert openai_speech.input_text({"input": "a", "instructions": "b"}) == "a\nb"
