"""What is read, from the database or a file, while it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path

from django.db import connection

CHUNKS_AHEAD = 4
PIECE = 256 * 1024


def pieces_of(path: Path) -> Generator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


class Download:
    """An asynchronous iterator over a synchronous one, which runs in a thread of its own.

    A thread, because the database is read synchronously; asynchronous, because Django would
    read a synchronous iterator to its end before it sends the first byte. Not more than a few
    chunks are read ahead. Django calls `close` when the client leaves.
    """

    def __init__(self, chunks: Callable[[], Generator[bytes]]) -> None:
        self._chunks = chunks
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._room = threading.Semaphore(CHUNKS_AHEAD)
        self._started = False
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._started:
            # Not before: Django asks for the iterator where there is no event loop yet.
            self._started = True
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._feed, args=[loop], name="download", daemon=True).start()
        chunk = await self._queue.get()
        self._room.release()
        if chunk is None:
            raise StopAsyncIteration
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self) -> None:
        self._closed = True
        self._room.release()

    def _feed(self, loop: asyncio.AbstractEventLoop) -> None:
        last: Exception | None = None
        try:
            with contextlib.closing(self._chunks()) as chunks:
                for chunk in chunks:
                    self._room.acquire()
                    if self._closed:
                        break
                    self._put(loop, chunk)
        except Exception as error:  # noqa: BLE001  # raised again where the chunks are awaited
            last = error
        finally:
            connection.close()
        self._put(loop, last)

    def _put(self, loop: asyncio.AbstractEventLoop, item: bytes | Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._queue.put_nowait, item)
