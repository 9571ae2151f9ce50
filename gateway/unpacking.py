"""Bodies that come compressed although `identity` was asked for, unpacked within bounds."""

from __future__ import annotations

import zlib

#: What is unpacked at a time, in bytes.
PIECE = 64 * 1024
#: A body may become so many times as large as it came, and this much more.
MOST_TIMES = 20
AND_MORE = 8 * 1024 * 1024
#: zlib's word for either of its headers, gzip's (RFC 1952) and its own (RFC 1950).
_EITHER_HEADER = 32 + zlib.MAX_WBITS

CODINGS = frozenset({"gzip", "x-gzip", "deflate"})


class Unpacking:
    """One body: what comes is taken, and given out again piece by piece.

    Raises ValueError for what is not compressed as it says, and for what becomes too large.
    """

    __slots__ = ("_given", "_inflate", "_packed", "_taken")

    def __init__(self, coding: str) -> None:
        if coding not in CODINGS:
            raise ValueError(coding)
        self._inflate = zlib.decompressobj(_EITHER_HEADER)
        self._packed = b""
        self._taken = self._given = 0

    def take(self, packed: bytes) -> None:
        """Take what came next, when `piece` had nothing left."""
        self._packed = packed
        self._taken += len(packed)

    def piece(self) -> bytes:
        """The next bytes; empty if more has to come first."""
        if self._inflate.eof:
            if self._packed or self._inflate.unused_data:
                raise ValueError("Something follows the end.")
            return b""
        try:
            piece = self._inflate.decompress(self._packed, PIECE)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        self._packed = self._inflate.unconsumed_tail
        self._given += len(piece)
        if self._given > AND_MORE + MOST_TIMES * self._taken:
            raise ValueError("It becomes too large.")
        return piece

    def end(self) -> None:
        """Nothing more comes."""
        if not self._inflate.eof:
            raise ValueError("Its end is missing.")
