"""The append-only spool: what was used is on disk before the client has its last byte.

A process owns one slot, a directory, for as long as it holds the lock in it. It appends to
segments there; what a dead process left is taken over by whoever gets its lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

from usage import frames
from usage.errors import SpoolUnavailable

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 16 * 1024 * 1024
#: A power cut loses at most what was written since the last sync.
SYNC_EVERY_S = 0.1
SYNC_EVERY_RECORDS = 256
CHECK_EVERY_S = 1.0
#: Kept free for the records of requests that were let in already.
FREE_FLOOR = 256 * 1024 * 1024
FREE_SHARE = 0.05
#: Read at once. No line is this long.
CHUNK_BYTES = 1024 * 1024


@dataclass(slots=True, eq=False)
class Segment:
    """One file of this process's spool. Sizes and positions are in bytes."""

    path: Path
    written: int = 0
    shipped: int = 0
    #: How many requests that were opened here are not closed yet, here or later.
    open_requests: int = 0


class Line(NamedTuple):
    """What one line of a segment holds, and where the next one begins."""

    payloads: list[bytes]
    damaged: bytes
    end: int


class Slot:
    """A directory of the spool, owned by whoever holds its lock."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def segments(self) -> list[Path]:
        """The oldest first."""
        return segments_in(self.path)

    def new_segment(self) -> Path:
        """A path for the next segment, in order, and with an id that is used only once."""
        present = self.segments()
        number = int(present[-1].name.partition("-")[0]) + 1 if present else 1
        return self.path / f"{number:08d}-{uuid4()}.spool"

    def release(self) -> None:
        os.close(self._lock)


def segments_in(path: Path) -> list[Path]:
    return sorted(path.glob("*-*.spool"))


def id_of(segment: Path) -> UUID:
    return UUID(segment.stem.partition("-")[2])


def is_segment(path: Path) -> bool:
    """Whether the name of a file is that of a segment."""
    try:
        return path.suffix == ".spool" and bool(id_of(path))
    except ValueError:
        return False


def is_owned(slot: Path) -> bool:
    """Whether a living process of this machine writes to a slot. Changes nothing there."""
    try:
        lock = os.open(slot / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def claim(root: Path) -> Slot:
    """The first slot that no living process owns."""
    return next(slot for number in count() if (slot := _taken(root / str(number))))


def abandoned(root: Path) -> Iterator[Slot]:
    """Slots with segments that no living process owns, each owned by us until released."""
    for path in sorted(root.glob("*")):
        if path.is_dir() and segments_in(path) and (slot := _taken(path)):
            try:
                yield slot
            finally:
                slot.release()


def _taken(path: Path) -> Slot | None:
    path.mkdir(parents=True, exist_ok=True)
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return Slot(path, lock)


def lines(segment: Path, position: int = 0) -> Iterator[Line]:
    """The whole lines of a segment from `position` on."""
    descriptor = os.open(segment, os.O_RDONLY)
    try:
        while whole := _whole_lines(os.pread(descriptor, CHUNK_BYTES, position)):
            for line in whole:
                position += len(line) + 1
                payloads, damaged = frames.read_line(line)
                yield Line(payloads, damaged, position)
    finally:
        os.close(descriptor)


def lines_to_the_end(segment: Path) -> Iterator[Line]:
    """All lines of a segment that nobody writes any more.

    Its last line may be torn: what is not whole there was never acknowledged, and is dropped.
    """
    position = 0
    for line in lines(segment):
        position = line.end
        yield line
    with segment.open("rb") as file:
        file.seek(position)
        payloads, _ = frames.read_line(file.read())
    if payloads:
        yield Line(payloads, b"", segment.stat().st_size)


def _whole_lines(chunk: bytes) -> list[bytes]:
    if len(chunk) == CHUNK_BYTES and b"\n" not in chunk:
        return [chunk]
    return chunk.split(b"\n")[:-1]


class Spool:
    """The writing end of one slot. `append` is called by one thread only, the event loop's."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self.segments: deque[Segment] = deque()
        self._descriptor = -1
        self._retired: deque[int] = deque()
        self._unsynced = 0
        self._trouble = ""
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="spool-sync", daemon=True)
        self._roll()
        self.check_disk()

    @property
    def slot_name(self) -> str:
        return self._slot.path.name

    def start(self) -> None:
        self._thread.start()

    def append(self, payload: bytes) -> Segment:
        """Write one record; when this returns, the end of this process cannot lose it."""
        line = frames.framed(payload)
        segment = self.segments[-1]
        try:
            if segment.written + len(line) > SEGMENT_BYTES and segment.written:
                segment = self._roll()
            self._write(segment, line)
        except OSError as error:
            self._see_trouble(f"The spool cannot be written: {error.strerror}.")
            raise SpoolUnavailable from error
        self._unsynced += 1
        if self._unsynced == SYNC_EVERY_RECORDS:
            self._wake.set()
        return segment

    def check_writable(self) -> None:
        """Raise SpoolUnavailable if the last look at the disk, or the last write, was bad."""
        if self._trouble:
            raise SpoolUnavailable

    def is_finished(self, segment: Segment) -> bool:
        """Whether a segment is needed no more: shipped, left behind, and all requests closed."""
        left_behind = self._closing or segment is not self.segments[-1]
        return left_behind and segment.shipped >= segment.written and not segment.open_requests

    def discard(self, segment: Segment) -> None:
        self.segments.remove(segment)
        segment.path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Bring everything written so far to the disk itself."""
        while self._retired:
            descriptor = self._retired.popleft()
            os.fdatasync(descriptor)
            os.close(descriptor)
        if self._unsynced:
            self._unsynced = 0
            os.fdatasync(self._descriptor)

    def check_disk(self) -> None:
        """Look whether the spool is still there and has room."""
        try:
            self._see_trouble(self._trouble_of_disk())
        except OSError as error:
            self._see_trouble(f"The spool cannot be reached: {error.strerror}.")

    def close(self) -> None:
        """Sync for the last time, and let go of the slot."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self.sync()
        os.close(self._descriptor)
        for segment in filter(self.is_finished, list(self.segments)):
            self.discard(segment)
        self._slot.release()

    def _write(self, segment: Segment, line: bytes) -> None:
        written = os.write(self._descriptor, line)
        if written < len(line):
            self._forget_half_a_line(segment)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        segment.written += len(line)

    def _forget_half_a_line(self, segment: Segment) -> None:
        # Even if it stays, half a line costs no record but its own.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, segment.written)
        segment.written = os.fstat(self._descriptor).st_size

    def _roll(self) -> Segment:
        """Go on in a new segment. The former one is closed by the thread that syncs."""
        path = self._slot.new_segment()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        former, self._descriptor = self._descriptor, os.open(path, flags, 0o600)
        # Last: that thread may close it at once, and would then sync what is closed.
        if former >= 0:
            self._retired.append(former)
        self.segments.append(Segment(path))
        return self.segments[-1]

    def _trouble_of_disk(self) -> str:
        disk = os.statvfs(self._slot.path)
        floor = min(FREE_FLOOR, disk.f_blocks * disk.f_frsize * FREE_SHARE)
        if disk.f_flag & os.ST_RDONLY:
            return "The spool's file system is read-only."
        if disk.f_bavail * disk.f_frsize < floor:
            return f"The spool's file system has less than {floor / 1024**2:.0f} MiB free."
        if not os.fstat(self._descriptor).st_nlink:
            return "The spool was deleted underneath. Start this process again."
        return ""

    def _see_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            logger.error("usage cannot be recorded: %s", trouble)
        self._trouble = trouble

    def _look_after(self) -> None:
        checked_at = time.monotonic()
        while not self._closing:
            self._wake.wait(SYNC_EVERY_S)
            self._wake.clear()
            try:
                self.sync()
            except OSError as error:
                self._see_trouble(f"The spool cannot be synced: {error.strerror}.")
            if time.monotonic() - checked_at >= CHECK_EVERY_S:
                checked_at = time.monotonic()
                self.check_disk()
