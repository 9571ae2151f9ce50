"""JSON that passes, remembered without the insides of its long strings.

An image is megabytes of base64 in one string, and nothing that Courier reads: what is left
of its answer without that is small enough to keep and to parse.
"""

from __future__ import annotations

from typing import Any

from lib.json_reading import loads

#: Strings that are longer, in bytes, are remembered as empty ones.
LONGEST_STRING = 64 * 1024


class Skeleton:
    """One JSON text, fed in pieces."""

    __slots__ = ("_is_escaped", "_is_inside", "_is_long", "_kept", "_start")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._is_inside = False
        #: Whether the next byte follows a backslash of the piece before.
        self._is_escaped = False
        #: Whether the inside of the string at hand is left out, and where it began.
        self._is_long = False
        self._start = 0

    def feed(self, piece: bytes) -> None:
        """The next piece of the text. Nothing is checked: `parsed` does."""
        position = 0
        while position < len(piece):
            if self._is_inside:
                position = self._take_inside(piece, position)
            else:
                position = self._take_outside(piece, position)

    def parsed(self) -> Any:
        """The whole text, parsed. Raises ValueError if it is no JSON, or not all of it."""
        return loads(bytes(self._kept))

    def _take_outside(self, piece: bytes, position: int) -> int:
        end = piece.find(b'"', position) + 1
        if not end:
            self._kept += piece[position:]
            return len(piece)
        self._kept += piece[position:end]
        self._is_inside, self._is_long, self._start = True, False, len(self._kept)
        return end

    def _take_inside(self, piece: bytes, position: int) -> int:
        end = self._end_of_string(piece, position)
        if len(self._kept) - self._start + end - position > LONGEST_STRING:
            self._is_long = True
            del self._kept[self._start :]
        if not self._is_long:
            self._kept += piece[position:end]
        if end == len(piece):
            return end
        self._kept += b'"'
        self._is_inside = False
        return end + 1

    def _end_of_string(self, piece: bytes, position: int) -> int:
        """Where the quote is that ends the string; the piece's length if it is not there."""
        if self._is_escaped:
            self._is_escaped = False
            position += 1
        quote = -1
        while True:
            if quote < position:
                found = piece.find(b'"', position)
                quote = len(piece) if found < 0 else found
            backslash = piece.find(b"\\", position, quote)
            if backslash < 0:
                return quote
            position = backslash + 2
            if position > len(piece):
                self._is_escaped = True
                return len(piece)
