"""A stream as one JSON array, an element for each event, as Google sends it without alt=sse."""

from __future__ import annotations

from gateway import sse

CONTENT_TYPE = (b"content-type", b"application/json; charset=utf-8")


class JsonArray:
    """Writes frames as elements. Silence is broken with white space, which means nothing."""

    __slots__ = ("_has_begun",)

    def __init__(self) -> None:
        self._has_begun = False

    def written(self, frames: bytes, *, more: bool) -> bytes:
        """What stands for these whole frames; with the last of them the array ends."""
        elements = filter(None, map(sse.data_of, sse.split(frames)))
        written = b"".join(self._after_the_last(element) for element in elements)
        if more:
            return written or b"\n"
        return written + (b"]" if self._has_begun else b"[]")

    def _after_the_last(self, element: bytes) -> bytes:
        sign = b",\r\n" if self._has_begun else b"["
        self._has_begun = True
        return sign + element
