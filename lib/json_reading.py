"""Other people's JSON, read only as far as it could be written again."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import orjson

#: Lists and objects inside each other, at most. orjson writes 254 levels and reads four times
#: as many, and whatever walks through them calls itself that often.
MOST_LEVELS = 128
_OPENING, _CLOSING = b"[{", b"]}"
_STEPS = {**dict.fromkeys(_OPENING, 1), **dict.fromkeys(_CLOSING, -1)}
_MARKS = _OPENING + _CLOSING
_ANY_BYTE = frozenset(range(256))


class TooDeep(ValueError):
    """JSON that is nested deeper than Courier goes."""


def loads(text: bytes | str) -> Any:
    """The value that `text` is. Raises ValueError if it is no JSON, or TooDeep."""
    value = orjson.loads(text)
    given = text.encode() if isinstance(text, str) else text
    if given.count(b"[") + given.count(b"{") > MOST_LEVELS and levels(given) > MOST_LEVELS:
        raise TooDeep(f"it is nested more than {MOST_LEVELS} levels deep")
    return value


def levels(text: bytes) -> int:
    """How many lists and objects are inside each other in a valid text."""
    return max(accumulate(map(_STEPS.__getitem__, outside_strings(text, _MARKS))), default=0)


def outside_strings(text: bytes, marks: bytes) -> bytes:
    """Those of the `marks` in a valid text that stand in none of its strings."""
    without_escapes = text.replace(rb"\\", b"").replace(rb"\"", b"")
    left = without_escapes.translate(None, bytes(_ANY_BYTE - {*marks, *b'"'}))
    return b"".join(left.split(b'"')[::2])
