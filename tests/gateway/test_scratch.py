import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import scratch
from gateway.errors import UploadsUnavailable
from gateway.scratch import Scratch

pieces = st.lists(st.binary(max_size=30), max_size=12)


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch, settings, tmp_path):
    monkeypatch.setattr(scratch, "MOST_IN_MEMORY", 40)
    monkeypatch.setattr(scratch, "PIECE", 16)
    settings.UPLOAD_DIR = tmp_path / "uploads"


async def kept(written):
    kept = Scratch()
    for piece in written:
        await kept.write(piece)
    return kept


async def read(kept):
    content = b""
    while piece := await kept.read(len(content)):
        content += piece
    return content


@given(pieces)
async def test_what_was_written_is_read_as_often_as_one_likes(written):
    content = b"".join(written)
    scratch = await kept(written)

    assert (await read(scratch), await read(scratch)) == (content, content)
    assert scratch.size == len(content)
    scratch.close()


async def test_little_is_kept_in_memory(settings):
    scratch = await kept([b"x" * 40])

    assert not scratch.is_on_disk
    assert not settings.UPLOAD_DIR.exists()


async def test_what_is_more_is_in_a_file_without_a_name(settings):
    scratch = await kept([b"x" * 41])

    assert scratch.is_on_disk
    assert list(settings.UPLOAD_DIR.iterdir()) == []
    assert settings.UPLOAD_DIR.stat().st_mode & 0o777 == 0o700
    scratch.close()


async def test_a_disk_that_fails_is_told_of(settings, tmp_path):
    settings.UPLOAD_DIR = tmp_path / "file" / "uploads"
    (tmp_path / "file").touch()

    with pytest.raises(UploadsUnavailable):
        await kept([b"x" * 41])


async def test_what_was_forgotten_is_not_read():
    scratch = await kept([b"x" * 41])
    scratch.close()

    with pytest.raises(UploadsUnavailable):
        await scratch.read(0)
