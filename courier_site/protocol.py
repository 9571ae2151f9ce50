"""The server's HTTP protocol, with bounds on what a stranger may send before the gate."""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from weakref import WeakMethod

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 32 * 1024
MAX_HEADERS = 100
#: How long a connection may take to send the head of a request, in seconds.
HEAD_TIMEOUT_S = 10.0
#: How long a client may leave what is sent to it unread. Longer than the gateway waits, which
#: by then has written down how the answer ended.
STALL_S = 45.0
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class HeadTooLarge(Exception):
    """The head of this request has too many bytes or fields."""


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose request heads are too large or too slow, or that do not read."""

    _head_size = 0
    _head_timer: TimerHandle | None = None
    _stall_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Weak, for a request must not keep its connection: that would be a cycle.
        self._extensions = {"courier.break_off": WeakMethod(self.break_off)}
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_done()
        super().connection_lost(exc)
        self._is_read()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_read()

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_timer is not None:
            # The parser keeps an unfinished field to itself, so all bytes so far are counted.
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._refuse()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]  # one of ours
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._head_is_done()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD or len(self.headers) > MAX_HEADERS:
            self._refuse()
            raise HeadTooLarge
        super().on_headers_complete()

    def break_off(self) -> None:
        """Close the connection in the middle of an answer: without its end it looks cut."""
        # What the server would find out a moment later, and complain about until then.
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _expect_head(self) -> None:
        self._head_size = 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _head_is_done(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _expect_reading(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(STALL_S, self._abort_unless_read, unread)

    def _abort_unless_read(self, unread: int) -> None:
        # Closing would wait for a client that does not read, for ever.
        if self.transport.get_write_buffer_size() >= unread:
            self.transport.abort()
        else:
            self._expect_reading()

    def _is_read(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _refuse(self) -> None:
        self._head_is_done()
        self.transport.write(TOO_LARGE)
        self.transport.close()
