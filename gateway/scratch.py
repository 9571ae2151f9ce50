"""Bytes that are kept for one request: in memory, and beyond a bound in a file without a name.

Such a file is nobody else's to open, and is gone with the process at the latest.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from django.conf import settings

from gateway.errors import UploadsUnavailable

MOST_IN_MEMORY = 1024 * 1024
#: Read at once, in bytes.
PIECE = 256 * 1024
#: Left free on the disk, in bytes: usage records are written there, too.
FREE_FLOOR = 512 * 1024 * 1024


class Scratch:
    """Written once, from its beginning to its end; read as often as one likes."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._in_file = 0
        #: What comes behind the file's content.
        self._in_memory = bytearray()

    @property
    def size(self) -> int:
        return self._in_file + len(self._in_memory)

    @property
    def is_on_disk(self) -> bool:
        return self._file is not None

    async def write(self, data: bytes) -> None:
        """Add `data`. Raises UploadsUnavailable if the disk has no room."""
        self._in_memory += data
        if len(self._in_memory) > MOST_IN_MEMORY:
            full, self._in_memory = bytes(self._in_memory), bytearray()
            await asyncio.to_thread(self._write_to_disk, full)

    async def read(self, position: int) -> bytes:
        """A piece from `position` on; empty at the end."""
        if position < self._in_file:
            if self._file is None:
                raise UploadsUnavailable
            wanted = min(PIECE, self._in_file - position)
            return await asyncio.to_thread(os.pread, self._file.fileno(), wanted, position)
        start = position - self._in_file
        return bytes(self._in_memory[start : start + PIECE])

    def close(self) -> None:
        """Forget everything."""
        self._in_memory = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_to_disk(self, data: bytes) -> None:
        try:
            if self._file is None:
                self._file = _nameless_file(settings.UPLOAD_DIR)
            room = os.fstatvfs(self._file.fileno())
            if room.f_bavail * room.f_frsize < FREE_FLOOR:
                raise UploadsUnavailable
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise UploadsUnavailable from error
        self._in_file += len(data)


def _nameless_file(directory: Path) -> IO[bytes]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return TemporaryFile(dir=directory)
