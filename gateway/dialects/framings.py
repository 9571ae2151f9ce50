"""Streams that are not server-sent events, made them: lines of JSON, and answers in one piece."""

from __future__ import annotations

import orjson

from gateway import sse
from gateway.sse import LONGEST_FRAME, FrameTooLong

#: An answer in one piece may be so many bytes.
LONGEST_BODY = 8 * 1024 * 1024
#: Raw line ends would end a frame's line; inside a JSON string they cannot stand.
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")


class LineFramer:
    """Each line is the JSON of one event (ndjson.org)."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """The whole lines so far, as frames."""
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        if len(self.rest) > LONGEST_FRAME:
            raise FrameTooLong
        return b"".join(sse.frame_of(_one_line(line)) for line in lines if line.strip())

    def last(self) -> bytes:
        """A last line may lack its end. One that was cut short is none."""
        rest, self.rest = self.rest, b""
        return sse.frame_of(_one_line(rest)) if _is_json(rest) else b""


class BodyFramer:
    """All of the answer is one event, which ends with the connection."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size > LONGEST_BODY:
            raise FrameTooLong
        return b""

    def last(self) -> bytes:
        """The answer, if it is whole."""
        body, self._pieces = b"".join(self._pieces), []
        return sse.frame_of(_one_line(body)) if _is_json(body) else b""


def _one_line(text: bytes) -> bytes:
    return text.translate(_LINE_ENDS).strip()


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
