"""Server-sent events: bytes to frames.

A frame is the bytes of one event with the blank line that ends it. Line ends may be LF,
CRLF or CR (WHATWG HTML, "event stream interpretation").
"""

from __future__ import annotations

import re

#: A frame that does not end is no frame: more than this without a blank line is refused.
LONGEST_FRAME = 1024 * 1024

_END_OF_FRAME = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class FrameTooLong(ValueError):
    """The upstream sent a line without end."""


class Framer:
    """Cuts what the network gives at the end of the last whole frame, and keeps the rest."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """The whole frames so far, as one run of bytes; empty if there is none yet."""
        if not self.rest and chunk.endswith(b"\n\n"):
            return chunk
        data = self.rest + chunk
        end = _last_end(data)
        self.rest = data[end:]
        if len(self.rest) > LONGEST_FRAME:
            raise FrameTooLong
        return data[:end]

    def last(self) -> bytes:
        """The end marker, if the connection ended instead of its blank line."""
        rest, self.rest = self.rest, b""
        return end_marker(rest)


def _last_end(data: bytes) -> int:
    """Where the last whole frame of `data` ends; 0 if there is none."""
    # A trailing CR may be the first half of a CRLF: it ends nothing yet.
    newest = max(data.rfind(b"\n\n"), data.rfind(b"\n\r\n"), data.rfind(b"\r\r", 0, -1))
    if newest < 0:
        return 0
    match = _END_OF_FRAME.match(data, newest)
    if match is None:
        return 0
    return match.end()


def split(frames: bytes) -> list[bytes]:
    """The frames of a run of whole frames. Joined, they are the run again."""
    if b"\r" not in frames:
        *whole, rest = frames.split(b"\n\n")
        return [*(frame + b"\n\n" for frame in whole), *filter(None, [rest])]
    return _split_at_any_end(frames)


def _split_at_any_end(frames: bytes) -> list[bytes]:
    found = []
    start = 0
    for end in _END_OF_FRAME.finditer(frames):
        found.append(frames[start : end.end()])
        start = end.end()
    if start < len(frames):
        found.append(frames[start:])
    return found


def data_of(frame: bytes) -> bytes:
    """The frame's data, its lines joined by LF; empty for a comment or an event without data."""
    if frame.startswith(b"data: ") and frame.count(b"\n") == 2 and b"\r" not in frame:
        return frame[6:-2]
    lines = [line for line in _LINE_END.split(frame) if line.startswith(b"data")]
    values = [line[5:].removeprefix(b" ") for line in lines if line[4:5] == b":"]
    return b"\n".join(values)


def end_marker(rest: bytes) -> bytes:
    """A whole frame of what was left of a stream, if that is an end marker: some servers end so."""
    return rest + b"\n\n" if data_of(rest).strip() == b"[DONE]" else b""


def has_event(frames: bytes) -> bool:
    """Whether a run of whole frames is more than comments, which keep a connection open."""
    return not frames.startswith(b":") or b"\ndata" in frames


def frame_of(data: bytes) -> bytes:
    """A frame with this data, which must hold no line end."""
    return b"data: " + data + b"\n\n"
