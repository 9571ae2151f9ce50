"""The way back to one client: everything that is sent to it goes through here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http.response import HttpResponseBase

from gateway.json_array import CONTENT_TYPE, JsonArray
from registry import snapshot

if TYPE_CHECKING:
    from gateway.tape import Tape

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Header = tuple[bytes, bytes]

STREAM_TYPE = (b"content-type", b"text/event-stream; charset=utf-8")
STREAM_HEADERS = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


REVISION = b"x-courier-revision"
#: Of an answer that is neither whole nor made of events.
BODY_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"x-accel-buffering", b"no"))


class Whole(HttpResponseBase):
    """An answer that is all there, with a head of our own that needs none of Django's care."""

    streaming = False
    status_code = 200

    def __init__(self, content: bytes, told: Mapping[str, str]) -> None:
        # Not the base's: it would check, convert and copy what is known to be good.
        self.content = content
        self.told = told


def _leave_it() -> None:
    """Servers close the connection of an answer that was left incomplete, if loudly."""


class Reply:
    """What has been sent to one client, and when. Times are of the event loop's clock."""

    __slots__ = (
        "_close",
        "_extra",
        "_now",
        "_send",
        "client_is_gone",
        "array",
        "has_begun",
        "is_over",
        "is_writing",
        "revision",
        "tape",
        "was_charged",
        "written_at",
    )

    def __init__(
        self, send: Send, extra: list[Header], close: Callable[[], None] = _leave_it
    ) -> None:
        self._send = send
        #: Closes the connection before the answer is complete.
        self._close = close
        #: Headers of every answer, such as the request's id.
        self._extra = extra
        self._now = asyncio.get_running_loop().time
        #: What tells a cancellation by the client's leaving from one by the server's stopping.
        self.client_is_gone = False
        self.has_begun = False
        self.is_over = False
        self.is_writing = False
        self.written_at = self._now()
        #: That of the configuration by which the request is served.
        self.revision = snapshot.current().recorded
        #: What makes an array of a stream's events, where the client wants that.
        self.array: JsonArray | None = None
        #: What records the answer for others who ask the same, where somebody may.
        self.tape: Tape | None = None
        #: Whether something was used for this request.
        self.was_charged = False

    def record_on(self, tape: Tape) -> None:
        """Let everything that is sent from now on be recorded, too."""
        self.tape = tape
        self._send = tape.over(self._send)

    async def begin_again(self, status: int, headers: Iterable[Header]) -> None:
        """Send the head of an answer that was sent before. What is said of each is this one's."""
        own = {REVISION, *(name for name, _ in self._extra)}
        await self._start(status, [header for header in headers if header[0] not in own])

    async def send_whole(self, status: int, headers: Iterable[Header], content: bytes) -> None:
        """Send an answer that is all there."""
        length = (b"content-length", str(len(content)).encode())
        await self._start(status, [*headers, length])
        self.array = None
        await self.write(content, more=False)

    async def begin_stream(self, told: Iterable[tuple[str, str]]) -> None:
        """Send the head of a stream, unless that has been done. `told` are its own headers."""
        if not self.has_begun:
            headers = [(name.encode(), value.encode("latin-1")) for name, value in told]
            kind = STREAM_TYPE if self.array is None else CONTENT_TYPE
            await self._start(200, [kind, *STREAM_HEADERS, *headers])

    async def begin_body(self, told: Iterable[tuple[str, str]]) -> None:
        """Send the head of an answer whose length is not known. `told` are its own headers."""
        headers = [(name.encode(), value.encode("latin-1")) for name, value in told]
        await self._start(200, [*headers, *BODY_HEADERS])

    def break_off(self) -> None:
        """Close the connection, so that nobody takes the answer for a complete one."""
        self.is_over = True
        self._close()

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece of the body. Returns when the client has room for more."""
        self.is_writing = True
        self.is_over = not more
        self.written_at = self._now()
        if self.array is not None:
            data = self.array.written(data, more=more)
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self.is_writing = False

    async def keep_alive(self, told: Iterable[tuple[str, str]], sign: bytes) -> None:
        """Break a silence with a sign that means nothing, beginning the stream if need be.

        Runs beside the task that serves the request, a tick after it was wanted: by then
        that task may be writing again, or be done.
        """
        if self.is_writing or self.is_over:
            return
        await self.begin_stream(told)
        await self.write(sign)

    async def _start(self, status: int, headers: list[Header]) -> None:
        self.has_begun = True
        told = [*headers, *self._extra]
        if "revision" in settings.COURIER_HEADERS:
            told.append((REVISION, b"%d" % self.revision))
        await self._send({"type": "http.response.start", "status": status, "headers": told})
