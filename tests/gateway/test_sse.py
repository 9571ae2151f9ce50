import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.sse import Framer, FrameTooLong, data_of, frame_of, split

FRAMES = (
    b'data: {"text": "h\xc3\xa9llo \xf0\x9f\x91\x8b"}\n\n',
    b": a comment\n\n",
    b"event: message\ndata: one\ndata: two\n\n",
    b"data:no space\nid: 7\n\n",
    b"data: [DONE]\n\n",
)
ENDINGS = (b"\n", b"\r\n", b"\r")
texts = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]))


def with_line_ends(stream, ending):
    return stream.replace(b"\n", ending)


def fed(chunks):
    framer = Framer()
    return [framer.feed(chunk) for chunk in chunks], framer


@pytest.mark.parametrize("ending", ENDINGS, ids=["LF", "CRLF", "CR"])
def test_whole_frames_come_out_wherever_the_chunks_end(ending):
    frames = [with_line_ends(frame, ending) for frame in FRAMES]
    stream = b"".join(frames)
    boundaries = {sum(map(len, frames[:n])) for n in range(len(frames) + 1)}

    for cut in range(1, len(stream)):
        (first, second), framer = fed([stream[:cut], stream[cut:]])

        assert len(first) in boundaries
        assert first + second + framer.rest == stream


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
@pytest.mark.parametrize("ending", ENDINGS, ids=["LF", "CRLF", "CR"])
def test_no_byte_is_lost_however_small_the_chunks(ending, size):
    stream = with_line_ends(b"".join(FRAMES), ending)
    chunks = [stream[i : i + size] for i in range(0, len(stream), size)]

    runs, framer = fed(chunks)

    assert b"".join(runs) + framer.rest == stream


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_nothing_is_held_back_after_a_blank_line(ending):
    stream = with_line_ends(b"".join(FRAMES), ending)

    (run,), framer = fed([stream])

    assert (run, framer.rest) == (stream, b"")


@given(
    events=st.lists(st.lists(texts, min_size=1, max_size=3), min_size=1, max_size=6),
    ending=st.sampled_from(ENDINGS),
    cuts=st.lists(st.integers(min_value=0, max_value=400), max_size=8),
)
def test_events_survive_any_chunking(events, ending, cuts):
    written = [b"".join(b"data: " + line.encode() + ending for line in event) for event in events]
    stream = b"".join(event + ending for event in written)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    runs, framer = fed(stream[a:b] for a, b in zip(edges, edges[1:], strict=False))
    # With bare CRs the last frame is known to be whole only when the stream ends.
    read = [data_of(frame) for run in [*runs, framer.rest] for frame in split(run) if frame]

    assert read == ["\n".join(event).encode() for event in events]


@given(st.lists(st.sampled_from([*FRAMES, *(with_line_ends(f, b"\r\n") for f in FRAMES)])))
def test_split_frames_joined_are_the_run_again(frames):
    assert split(b"".join(frames)) == frames


def test_a_frame_cut_off_at_the_end_is_still_split_off():
    assert split(b"data: a\n\ndata: b") == [b"data: a\n\n", b"data: b"]


def test_a_line_of_a_mebibyte_without_end_is_refused():
    framer = Framer()
    framer.feed(b"data: " + b"x" * (sse.LONGEST_FRAME - 6))

    with pytest.raises(FrameTooLong):
        framer.feed(b"x")


def test_a_long_frame_that_ends_passes():
    frame = b"data: " + b"x" * (sse.LONGEST_FRAME - 6)
    framer = Framer()
    framer.feed(frame)

    assert framer.feed(b"\n\n") == frame + b"\n\n"


@pytest.mark.parametrize(
    ("frame", "data"),
    [
        (b"data: one\n\n", b"one"),
        (b"data:one\n\n", b"one"),
        (b"data:  two spaces\n\n", b" two spaces"),
        (b"data: one\ndata: two\n\n", b"one\ntwo"),
        (b"data: one\r\ndata: two\r\n\r\n", b"one\ntwo"),
        (b"data: one\rdata: two\r\r", b"one\ntwo"),
        (b"event: error\ndata: bad\n\n", b"bad"),
        (b": data: not this\n\n", b""),
        (b"database: not this\n\n", b""),
        (b"data: one\n: comment\n\n", b"one"),
        (b"data\n\n", b""),
        (b"", b""),
    ],
)
def test_the_data_of_a_frame_is_what_the_standard_says(frame, data):
    assert data_of(frame) == data


@given(st.dictionaries(texts, texts))
def test_a_frame_that_was_made_is_read_again(content):
    data = json.dumps(content).encode()

    assert data_of(frame_of(data)) == data
    assert re.search(rb"\n\n\Z", frame_of(data))


@pytest.mark.parametrize(
    ("frames", "is_one"),
    [
        (b"data: a\n\n", True),
        (b"event: ping\ndata: {}\n\n", True),
        (b": ping\n\n", False),
        (b": ping\n\n: pong\n\n", False),
        (b": ping\n\ndata: a\n\n", True),
        (b": ping\ndata: a\n\n", True),
        (b'{"a": 1}\n', True),
        (b"\x00\x00\x00\x10", True),
    ],
)
def test_comments_are_no_events(frames, is_one):
    assert sse.has_event(frames) is is_one
