"""The format of the spool."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage import frames

payloads = st.binary(min_size=1, max_size=60).filter(lambda payload: b"\n" not in payload)


@given(payloads)
def test_what_was_framed_is_read_again(payload):
    assert frames.read_line(frames.framed(payload)[:-1]) == ([payload], b"")


@given(st.lists(payloads, min_size=2, max_size=5), st.sampled_from([b"\x0b", b"J", b"\x8a"]))
def test_a_lost_newline_loses_no_record(written, instead):
    line = b"".join(frames.framed(payload) for payload in written)[:-1].replace(b"\n", instead)

    found, rest = frames.read_line(line)

    assert found == written
    assert rest == instead * (len(written) - 1)


@given(payloads, st.data())
def test_a_flipped_bit_is_noticed(payload, data):
    line = bytearray(frames.framed(payload)[:-1])
    position = data.draw(st.integers(0, len(line) - 1))
    line[position] ^= 1 << data.draw(st.integers(0, 7))

    found, rest = frames.read_line(bytes(line))

    assert (found, rest) == ([], bytes(line))


@given(payloads, st.data())
def test_a_torn_record_is_never_taken_for_a_whole_one(payload, data):
    line = frames.framed(payload)[:-1]

    found, _ = frames.read_line(line[: data.draw(st.integers(0, len(line) - 1))])

    assert found == []


def test_a_record_after_half_a_record_survives():
    half = frames.framed(b"C{half}")[:12]

    assert frames.read_line(half + frames.framed(b"C{whole}")[:-1]) == ([b"C{whole}"], half)


@pytest.mark.parametrize("garbage", [b"", b"\x00" * 100, b"ffffffff 00000000 ", b"f" * 5000])
def test_garbage_holds_no_record(garbage):
    payload, rest = frames.read_line(garbage)

    assert (payload, rest) == ([], garbage)
