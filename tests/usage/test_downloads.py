"""What is read in a thread while it is sent."""

import asyncio
import threading

import pytest

from tests.services import wait_for
from usage import downloads
from usage.downloads import Download


async def read(download):
    return [chunk async for chunk in download]


async def test_all_chunks_arrive_in_order():
    chunks = [b"%d" % number for number in range(50)]

    assert await read(Download(lambda: (chunk for chunk in chunks))) == chunks


async def test_nothing_at_all_arrives_as_nothing():
    assert await read(Download(lambda: (chunk for chunk in ()))) == []


async def test_no_more_than_a_few_chunks_are_read_ahead():
    read_so_far = []

    def chunks():
        for number in range(1000):
            read_so_far.append(number)
            yield b"x"

    download = Download(chunks)
    iterator = aiter(download)
    await anext(iterator)
    await asyncio.to_thread(wait_for, lambda: len(read_so_far) > downloads.CHUNKS_AHEAD, "chunks")
    await asyncio.sleep(0.05)

    assert len(read_so_far) <= downloads.CHUNKS_AHEAD + 2
    download.close()


async def test_an_error_is_raised_where_the_chunks_are_awaited():
    def chunks():
        yield b"x"
        raise ConnectionError("The database is away.")

    with pytest.raises(ConnectionError):
        await read(Download(chunks))


async def test_closing_ends_the_reading():
    ended = threading.Event()

    def chunks():
        try:
            while True:
                yield b"x"
        finally:
            ended.set()

    download = Download(chunks)
    await anext(aiter(download))
    download.close()

    assert await asyncio.to_thread(ended.wait, 5)
