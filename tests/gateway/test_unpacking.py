import gzip
import random
import zlib

import pytest

from gateway.unpacking import AND_MORE, PIECE, Unpacking


def unpacked(coding, packed, size=1000):
    unpacking, pieces = Unpacking(coding), []
    for at in range(0, len(packed), size):
        unpacking.take(packed[at : at + size])
        while piece := unpacking.piece():
            pieces.append(piece)
    unpacking.end()
    return pieces


@pytest.mark.parametrize(
    ("coding", "pack"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_body_is_unpacked_however_it_comes(coding, pack, size):
    body = bytes(range(256)) * 40

    assert b"".join(unpacked(coding, pack(body), size)) == body


def test_no_piece_is_large():
    pieces = unpacked("gzip", gzip.compress(b"x" * 1_000_000), 10_000)

    assert {len(piece) <= PIECE for piece in pieces} == {True}
    assert sum(map(len, pieces)) == 1_000_000


def test_what_becomes_too_large_is_refused_before_it_has():
    bomb = gzip.compress(b"x" * (AND_MORE * 4))

    with pytest.raises(ValueError, match="too large"):
        unpacked("gzip", bomb, len(bomb))


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "identity", ""])
def test_other_codings_are_not_unpacked(coding):
    with pytest.raises(ValueError):
        Unpacking(coding)


@pytest.mark.parametrize(
    "packed",
    [b"no gzip", gzip.compress(b"body")[:-3], gzip.compress(b"body") + b"more", b""],
    ids=["no gzip", "half", "more behind it", "nothing"],
)
def test_what_is_not_what_it_says_is_refused(packed):
    with pytest.raises(ValueError):
        unpacked("gzip", packed)


def test_what_hardly_shrank_is_unpacked_whatever_its_size():
    body = random.Random(7).randbytes(512 * 1024)

    assert b"".join(unpacked("gzip", gzip.compress(body), 64 * 1024)) == body
