"""The framing, against botocore's own parser of it."""

import contextlib
import struct
from zlib import crc32

import orjson
import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.dialects.bedrock_converse.event_stream import LONGEST_MESSAGE, EventStreamFramer
from tests.fakes.event_stream import event, exception, header, message

STREAM = (
    event("messageStart", role="assistant")
    + event("contentBlockDelta", contentBlockIndex=0, delta={"text": "Grüße, 世界"})
    + event("messageStop", stopReason="end_turn")
)
FRAMES = EventStreamFramer().feed(STREAM)


def read(frames):
    return [orjson.loads(sse.data_of(frame)) for frame in sse.split(frames)]


def test_each_event_is_one_frame_that_names_it():
    told = [next(iter(each)) for each in read(FRAMES)]

    assert told == ["messageStart", "contentBlockDelta", "messageStop"]


def test_payloads_are_those_that_the_vendors_own_parser_reads():
    buffer = EventStreamBuffer()
    buffer.add_data(STREAM)

    assert [next(iter(each.values())) for each in read(FRAMES)] == [
        orjson.loads(each.payload) for each in buffer
    ]


@pytest.mark.parametrize("place", range(len(STREAM) + 1))
def test_a_stream_split_anywhere_reads_the_same(place):
    framer = EventStreamFramer()

    assert framer.feed(STREAM[:place]) + framer.feed(STREAM[place:]) == FRAMES
    assert framer.last() == b""


def test_a_stream_in_single_bytes_reads_the_same():
    framer = EventStreamFramer()

    assert b"".join(framer.feed(bytes([byte])) for byte in STREAM) == FRAMES


def test_half_a_message_at_the_end_is_none():
    framer = EventStreamFramer()
    framer.feed(STREAM[:-1])

    assert framer.last() == b""


@pytest.mark.parametrize("place", range(len(event("messageStart", role="assistant"))))
def test_a_damaged_byte_never_passes(place):
    damaged = bytearray(event("messageStart", role="assistant"))
    damaged[place] ^= 0x01

    with pytest.raises(ValueError):
        EventStreamFramer().feed(bytes(damaged))


@pytest.mark.parametrize(
    ("length", "headers"),
    [(LONGEST_MESSAGE + 1, 0), (2**32 - 1, 0), (0, 0), (15, 0), (16, 1), (100, 2**32 - 1)],
)
def test_an_impossible_length_is_refused_at_once(length, headers):
    prelude = struct.pack(">II", length, headers)

    with pytest.raises(ValueError):
        EventStreamFramer().feed(prelude + struct.pack(">I", crc32(prelude)))


def test_headers_of_every_type_are_passed_over():
    sizes = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 6: 3, 8: 8, 9: 16}
    odd = [header(f"x{kind}", b"\x01" * size, kind) for kind, size in sizes.items()]
    named = [header(":message-type", b"event"), header(":event-type", b"metadata")]

    framed = EventStreamFramer().feed(message(b"".join(odd + named), b'{"a":1}'))

    assert read(framed) == [{"metadata": {"a": 1}}]


@pytest.mark.parametrize("block", [b"\x05ab", b"\x01a\x63", b"\x01a\x07\xff\xff", b"\x01a\x05\x00"])
def test_headers_that_cannot_be_read_are_refused(block):
    with pytest.raises(ValueError):
        EventStreamFramer().feed(message(block))


def test_an_exception_is_told_with_its_type():
    framed = EventStreamFramer().feed(exception("throttlingException", "Too many."))

    told = {"type": "throttlingException", "message": "Too many."}
    assert read(framed) == [{"exception": told}]


def test_an_error_outside_the_model_is_told_with_its_code():
    headers = {":message-type": "error", ":error-code": "Internal", ":error-message": "Broken."}

    framed = EventStreamFramer().feed(message(headers))

    assert read(framed) == [{"exception": {"type": "Internal", "message": "Broken."}}]


def test_line_ends_between_fields_do_not_end_a_frame():
    headers = {":message-type": "event", ":event-type": "metadata"}

    framed = EventStreamFramer().feed(message(headers, b'{\n\n"a":\r\n1}'))

    assert read(framed) == [{"metadata": {"a": 1}}]


@given(st.binary(max_size=200))
def test_whatever_comes_nothing_but_a_value_error_is_raised(data):
    with contextlib.suppress(ValueError):
        EventStreamFramer().feed(data)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_whatever_a_sound_message_holds_nothing_but_a_value_error_is_raised(headers, payload):
    with contextlib.suppress(ValueError):
        EventStreamFramer().feed(message(headers, payload))
