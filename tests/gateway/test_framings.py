"""Streams that are not server-sent events, made them."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.dialects import framings
from gateway.dialects.framings import BodyFramer, LineFramer
from gateway.sse import LONGEST_FRAME, FrameTooLong

LINES = '{"a": "Grüße"}\r\n\n  \n{"b": [1,\t2]}\n{"c": "\\n"}'.encode()


def read(framer, *pieces):
    frames = b"".join([*map(framer.feed, pieces), framer.last()])
    return [orjson.loads(sse.data_of(frame)) for frame in sse.split(frames)]


@pytest.mark.parametrize("place", range(len(LINES) + 1))
def test_lines_split_anywhere_are_the_same_events(place):
    expected = [{"a": "Grüße"}, {"b": [1, 2]}, {"c": "\n"}]

    assert read(LineFramer(), LINES[:place], LINES[place:]) == expected


def test_a_line_that_is_cut_short_is_none():
    assert read(LineFramer(), b'{"a": 1}\n{"b": ') == [{"a": 1}]


def test_a_line_without_end_is_refused():
    with pytest.raises(FrameTooLong):
        LineFramer().feed(b"x" * (LONGEST_FRAME + 1))


BODY = b'{\n  "said": "Hello.\\n"\n}\n'


@pytest.mark.parametrize("place", range(len(BODY) + 1))
def test_an_answer_in_one_piece_is_one_event_at_its_end(place):
    framer = BodyFramer()

    assert framer.feed(BODY[:place]) + framer.feed(BODY[place:]) == b""
    assert read(framer) == [{"said": "Hello.\n"}]


def test_an_answer_that_is_cut_short_is_none():
    assert read(BodyFramer(), BODY[:-3]) == []


def test_an_answer_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(framings, "LONGEST_BODY", 10)

    with pytest.raises(FrameTooLong):
        BodyFramer().feed(b"x" * 11)


@pytest.mark.parametrize("framer", [LineFramer, BodyFramer])
@given(pieces=st.lists(st.binary(max_size=30), max_size=4))
def test_whatever_comes_no_frame_holds_another(framer, pieces):
    cutter = framer()
    frames = b"".join([*map(cutter.feed, pieces), cutter.last()])

    assert all(frame.count(b"\n") == 2 for frame in sse.split(frames))
