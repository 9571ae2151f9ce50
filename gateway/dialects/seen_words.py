"""The model's own words in a stream that passes, kept for counting."""

from __future__ import annotations

import re

import orjson

#: Words kept, per stream, in bytes or in characters. What lies beyond is counted by its length.
MOST_WORDS = 128 * 1024
MOST_BEYOND = 16 * 1024 * 1024
CHARACTERS_PER_TOKEN = 4


def fields(*names: bytes) -> re.Pattern[bytes]:
    """Where a chunk holds words of the model, in fields of these names.

    Quotes inside JSON strings are escaped, so a match is a real field; parsing every chunk
    would cost more than all the rest.
    """
    return re.compile(rb'"(?:' + b"|".join(names) + rb')":\s*"([^"\\]*(?:\\.[^"\\]*)*)"')


class SeenWords:
    """The insides of JSON strings, one after the other."""

    __slots__ = ("_beyond", "_kept")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._beyond = 0

    def keep(self, words: bytes) -> None:
        if len(self._kept) + len(words) <= MOST_WORDS:
            self._kept += words
        else:
            self._beyond += len(words)

    @property
    def kept(self) -> int:
        """How many bytes are kept."""
        return len(self._kept)

    def text_from(self, start: int) -> str:
        """What was kept after the first `start` bytes."""
        return unescaped(bytes(self._kept[start:]))

    def text(self) -> str:
        return unescaped(bytes(self._kept)) + " " * min(self._beyond, MOST_BEYOND)

    def token_estimate(self) -> int:
        return (len(self._kept) + self._beyond) // CHARACTERS_PER_TOKEN


class ReadWords:
    """The same of streams that are read: words that are text already."""

    __slots__ = ("_beyond", "_kept", "_length")

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._length = self._beyond = 0

    def keep(self, words: str) -> None:
        if self._length + len(words) <= MOST_WORDS:
            self._kept.append(words)
            self._length += len(words)
        else:
            self._beyond += len(words)

    def text(self) -> str:
        return "".join(self._kept) + " " * min(self._beyond, MOST_BEYOND)

    def token_estimate(self) -> int:
        return (self._length + self._beyond) // CHARACTERS_PER_TOKEN


def unescaped(words: bytes) -> str:
    """The text of the inside of a JSON string."""
    try:
        return str(orjson.loads(b'"' + words + b'"'))
    except orjson.JSONDecodeError:
        # Half of a surrogate pair, say. The count will be near enough.
        return words.decode(errors="replace")
