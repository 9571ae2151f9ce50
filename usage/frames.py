"""The format of the spool: one line per record, with its length and its checksum. Pure."""

from __future__ import annotations

import re
from zlib import crc32

#: Each stands at the start of a payload, before its JSON.
OPEN, PROGRESS, CLOSE, REFUSED = b"O", b"P", b"C", b"R"

#: In a lookahead, so that what merely looks like a head hides no real one behind it.
HEAD = re.compile(rb"(?=(([0-9a-f]{8}) [0-9a-f]{8} ))")
HEAD_BYTES = 18
#: Of a payload. What claims to be longer is none.
LONGEST = 64 * 1024


def framed(payload: bytes) -> bytes:
    """The line that holds `payload`. JSON has no newline of its own, so the line's is the end."""
    return b"%08x %08x %b\n" % (len(payload), crc32(payload), payload)


def read_line(line: bytes) -> tuple[list[bytes], bytes]:
    """The whole payloads in a line, and what else is there if the line is damaged."""
    payload = line[HEAD_BYTES:]
    if line[:HEAD_BYTES] == _head(payload):
        return [payload], b""
    return _salvaged(line)


def _salvaged(line: bytes) -> tuple[list[bytes], bytes]:
    """Where a newline was lost, whole records stand in the middle of a line."""
    payloads: list[bytes] = []
    rest, position = b"", 0
    for match in HEAD.finditer(line):
        start, length = match.start(), int(match[2], 16)
        if start < position or length > LONGEST:
            continue
        end = start + HEAD_BYTES + length
        payload = line[start + HEAD_BYTES : end]
        if match[1] == _head(payload):
            payloads.append(payload)
            rest += line[position:start]
            position = end
    return payloads, rest + line[position:]


def _head(payload: bytes) -> bytes:
    return b"%08x %08x " % (len(payload), crc32(payload))
