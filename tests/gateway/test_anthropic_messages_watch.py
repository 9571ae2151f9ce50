"""What is seen of a stream of Anthropic's that passes."""

import orjson
import pytest

from gateway import errors
from gateway.dialects.anthropic_messages import anthropic_messages
from lib.tokens import TokenUsage
from tests.gateway.anthropic_streams import STREAM, delta, event
from tests.gateway.validators import anthropic_messages as validator

PING = event({"type": "ping"})


def watched(*frames):
    watch = anthropic_messages.watch({})
    seen = b"".join(map(watch.see, frames))
    assert seen == b"".join(frames)
    return watch


def block(**content):
    return event({"type": "content_block_start", "index": 0, "content_block": content})


@pytest.mark.parametrize(
    ("frame", "is_output"),
    [
        (STREAM[0], False),
        (PING, False),
        (b": a comment\n\n", False),
        (block(type="text", text=""), False),
        (block(type="thinking", thinking="", signature=""), False),
        (block(type="text", text="Hi"), True),
        (block(type="tool_use", id="1", name="f", input={}), True),
        (block(type="redacted_thinking", data="d"), True),
        (block(type="server_tool_use", id="1", name="web_search", input={}), True),
        (delta("Hi"), True),
        (STREAM[-2], True),
        (STREAM[-1], False),
    ],
)
def test_output_is_what_the_client_sees_of_the_model(frame, is_output):
    assert watched(frame).has_output is is_output


def test_a_burst_is_looked_at_as_far_as_needed_and_passed_on_as_it_is():
    watch = watched(b"".join(STREAM))

    assert (watch.has_output, watch.is_complete) == (True, True)
    assert watch.usage == TokenUsage(7, output_tokens=3)


def test_the_end_is_a_message_that_stops():
    assert not watched(*STREAM[:-1]).is_complete
    assert watched(*STREAM).is_complete


def test_what_is_told_first_knows_nothing_of_the_output():
    watch = watched(*STREAM[:3])

    assert (watch.usage.input_tokens, watch.knows_output) == (7, False)
    assert watched(*STREAM).knows_output


def test_an_error_is_told_with_the_status_that_it_stands_for():
    told = {"type": "overloaded_error", "message": "Overloaded"}

    assert watched(event({"type": "error", "error": told})).failure == told | {"status": 529}


def test_an_error_of_another_shape_is_one_too():
    assert watched(event({"type": "error", "error": "No."})).failure == {"message": "No."}
    assert watched(b'data: {"error":{"message":"No."}}\n\n').failure == {"message": "No."}


@pytest.mark.parametrize("data", [b"{", b"[]", b"7"])
def test_what_is_no_event_is_malformed(data):
    with pytest.raises(ValueError):
        watched(b"event: ping\ndata: " + data + b"\n\n")


def test_words_are_kept_for_counting():
    thought = {"type": "thinking_delta", "thinking": 'H\u00e9 "m".'}
    given_input = {"type": "input_json_delta", "partial_json": '{"a":'}
    deltas = [
        event({"type": "content_block_delta", "index": 0, "delta": told})
        for told in (thought, {"type": "signature_delta", "signature": "long"}, given_input)
    ]

    watch = watched(*deltas, delta("Hi"))

    assert watch.seen_text() == 'H\u00e9 "m".{"a":Hi'
    assert watch.output_estimate() > 0


@pytest.mark.parametrize("seen", range(3, 7))
def test_a_stream_can_be_ended_wherever_it_is(seen):
    stream = STREAM[:5]
    watch = watched(*stream[:seen])

    ended = b"".join(stream[:seen]) + watch.ending("budget_exceeded", TokenUsage(5, 2, 0, 3))

    answer = validator.check(ended)
    assert (answer.complete, answer.finish) == (True, "length")
    assert answer.usage == {"input_tokens": 5, "cached_input_tokens": 2, "output_tokens": 3}


def test_an_error_frame_names_the_request():
    frame = watched(*STREAM[:3]).error_frame(errors.StreamInterrupted("Cut."), "the-id")

    told = orjson.loads(frame.split(b"data: ")[1])
    assert frame.startswith(b"event: error\n")
    assert told == {
        "type": "error",
        "error": {"type": "api_error", "message": "Cut.", "code": "stream_interrupted"},
        "request_id": "the-id",
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (402, "billing_error"),
        (403, "permission_error"), (404, "not_found_error"), (405, "invalid_request_error"),
        (408, "timeout_error"), (413, "request_too_large"), (415, "invalid_request_error"),
        (429, "rate_limit_error"), (500, "api_error"), (502, "api_error"),
        (503, "overloaded_error"), (504, "timeout_error"), (529, "overloaded_error"),
    ],
)  # fmt: skip
def test_a_status_has_its_type(status, kind):
    error = errors.UpstreamRejected("No.", status=status, code=None, param=None)

    told = orjson.loads(anthropic_messages.write_error(error, "id"))

    assert told["error"] == {"type": kind, "message": "No."}
