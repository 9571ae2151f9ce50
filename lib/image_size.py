"""Width and height of an image, from the first bytes of its file. Nothing is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable

Size = tuple[int, int]

#: A JPEG's frame headers: all of C0 to CF but the tables and what was never used.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def size_of(head: bytes) -> Size | None:
    """Pixels across and down of the PNG, JPEG, GIF or WebP that begins so; None if unknown."""
    try:
        found = next((read(head) for mark, read in _READERS if head.startswith(mark)), None)
    except (struct.error, IndexError):
        return None  # cut short, or not what it says
    return found if found and all(found) else None


def _png(head: bytes) -> Size | None:
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def _gif(head: bytes) -> Size | None:
    width, height = struct.unpack_from("<HH", head, 6)
    return width, height


def _jpeg(head: bytes) -> Size | None:
    at = 2
    while True:
        marker, length = struct.unpack_from(">xBH", head, at)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        at += 2 + max(length, 2)


def _webp(head: bytes) -> Size | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return _uint24(head, 24) + 1, _uint24(head, 27) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _uint24(head: bytes, at: int) -> int:
    low, high = struct.unpack_from("<HB", head, at)
    return int(low | high << 16)


_READERS: tuple[tuple[bytes, Callable[[bytes], Size | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8", _jpeg),
    (b"GIF8", _gif),
    (b"RIFF", _webp),
)
