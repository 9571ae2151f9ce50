"""AWS's binary framing of streams (application/vnd.amazon.eventstream), made server-sent events.

A message is a prelude (its length, its headers' length, their CRC32), headers, a payload,
and the CRC32 of all before it: smithy.io, "Amazon Event Stream Specification". What comes
out is one frame for each, whose data is an object with one field: the event's type, and in
it the payload.
"""

from __future__ import annotations

import struct
from zlib import crc32

import orjson

MEDIA_TYPE = "application/vnd.amazon.eventstream"
#: The field that stands for an exception. Its payload has a `type` beside the message.
EXCEPTION = "exception"
#: A longer message is refused. An image in pieces is the longest that is known.
LONGEST_MESSAGE = 4 * 1024 * 1024

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
#: Between a header's name and its value is the value's type. Bytes that each takes; None:
#: they are counted in front of it.
_SIZES: dict[int, int | None] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 6: None, 7: None, 8: 8, 9: 16}
_STRING = 7
_OVERHEAD = _PRELUDE.size + _CRC.size
#: Raw line ends would end a frame's line; inside a JSON string they cannot stand.
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")


class EventStreamFramer:
    """Cuts a binary stream into messages, checks them, and gives them on as frames."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """The frames of the whole messages so far. Raises ValueError if one is damaged."""
        data = self.rest + chunk if self.rest else chunk
        start, frames = 0, []
        while (end := _end_of_message(data, start)) is not None:
            frames.append(_frame(data[start:end]))
            start = end
        self.rest = data[start:]
        return b"".join(frames)

    def last(self) -> bytes:
        """Nothing: a message without its end is none."""
        return b""


def _end_of_message(data: bytes, start: int) -> int | None:
    """Where the message at `start` ends; None if it has not come to its end yet."""
    if len(data) - start < _PRELUDE.size:
        return None
    length, headers, crc = _PRELUDE.unpack_from(data, start)
    if crc32(data[start : start + 8]) != crc:
        raise ValueError("The prelude of a message is damaged.")
    if length > LONGEST_MESSAGE or headers > length - _OVERHEAD:
        raise ValueError("A message has an impossible length.")
    return start + length if len(data) - start >= length else None


def _frame(message: bytes) -> bytes:
    """A whole message as a frame."""
    (crc,) = _CRC.unpack_from(message, len(message) - _CRC.size)
    if crc32(message[: -_CRC.size]) != crc:
        raise ValueError("A message is damaged.")
    _, headers_length, _ = _PRELUDE.unpack_from(message)
    payload_at = _PRELUDE.size + headers_length
    headers = _headers(message[_PRELUDE.size : payload_at])
    payload = message[payload_at : -_CRC.size].translate(_LINE_ENDS)
    match headers.get(":message-type"):
        case b"event":
            name = orjson.dumps(headers.get(":event-type", b"").decode())
            return b"data: {" + name + b":" + (payload or b"{}") + b"}\n\n"
        case b"exception":
            return _exception(headers.get(":exception-type", b""), _message_in(payload))
        case _:
            return _exception(headers.get(":error-code", b""), headers.get(":error-message", b""))


def _exception(kind: bytes, message: bytes) -> bytes:
    told = {"type": kind.decode(errors="replace"), "message": message.decode(errors="replace")}
    return b"data: " + orjson.dumps({EXCEPTION: told}) + b"\n\n"


def _message_in(payload: bytes) -> bytes:
    try:
        said = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return b""
    message = said.get("message") if isinstance(said, dict) else None
    return message.encode() if isinstance(message, str) else b""


def _headers(block: bytes) -> dict[str, bytes]:
    """The headers that are strings. Raises ValueError if the block cannot be read."""
    found: dict[str, bytes] = {}
    place = 0
    try:
        while place < len(block):
            name_ends = place + 1 + block[place]
            name, kind = block[place + 1 : name_ends], block[name_ends]
            value_at, size = name_ends + 1, _SIZES[kind]
            if size is None:
                (size,) = _LENGTH.unpack_from(block, value_at)
                value_at += _LENGTH.size
            place = value_at + size
            if kind == _STRING:
                found[name.decode()] = block[value_at:place]
    except (IndexError, KeyError, struct.error) as error:
        raise ValueError("The headers of a message cannot be read.") from error
    if place != len(block):
        raise ValueError("The headers of a message cannot be read.")
    return found
