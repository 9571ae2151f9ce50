"""The server's HTTP protocol, with bounds on what a stranger may send before the gate."""

from __future__ import annotations

from asyncio import Event, TimerHandle, Transport
from functools import partial
from typing import cast
from weakref import WeakMethod

import httptools
from django.conf import settings
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from courier_site import heads, listener, paths
from courier_site.connections import connections
from gateway import shedding
from gateway.shedding import load

#: How long a connection may take to send the head of a request, in seconds.
HEAD_TIMEOUT_S = 5.0
#: How long the rest of a body is read that nobody wants, so that its sender sees the answer.
LINGER_S = 5.0
#: How long a client may leave what is sent to it unread. Longer than the gateway waits, which
#: by then has written down how the answer ended.
STALL_S = 45.0
#: What may wait here for a client to read before its upstream is no longer read, in bytes. The
#: kernel has more, so this runs empty while there is room.
MOST_WAITING = 16 * 1024
#: How long a connection that was accepted just before a stop may take to send its request.
LAST_CHANCE_S = 1.0


class HeadRefused(Exception):
    """The head of this request is too large or ambiguous, and was answered."""


class TurnedAway:
    """What the server takes for a request in progress where one was answered before it began."""

    response_complete = True
    response_started = True
    more_body = False
    message_event = Event()


TURNED_AWAY = cast(RequestResponseCycle, TurnedAway())


class Nowhere:
    """Where fields go that come behind a body: nobody is to take them for the head's."""

    def append(self, field: tuple[bytes, bytes]) -> None:
        pass


NOWHERE = cast("list[tuple[bytes, bytes]]", Nowhere())


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose requests are too large, too slow or ambiguous, or do not read."""

    #: Bytes since the last that made sense: the parser keeps an unfinished field to itself.
    _unread = 0
    #: Whether every answer is the last of its connection, for the process is about to stop.
    is_stopping = False

    #: Requests that were let in and are not answered yet.
    _open = 0
    #: Whether a request was turned away whose body is still to come.
    _is_owed_a_body = False
    #: Whether a request has begun on this connection.
    _was_asked = False
    _head_timer: TimerHandle | None = None
    _linger_timer: TimerHandle | None = None
    _stall_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        listener.heed(transport.get_extra_info("socket"))
        transport.set_write_buffer_limits(MOST_WAITING)
        # Weak, for a request must not keep its connection: that would be a cycle.
        self._extensions = {"courier.break_off": WeakMethod(self.break_off)}
        self._address = self.client[0] if self.client else ""
        if connections.begin(self._address):
            self._expect_head()
        else:
            self._refuse(heads.TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_done()
        self._stop_lingering()
        connections.end(self._address)
        load.ended(self._open)
        self._open = 0
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
        # Not the base's, which writes a line into the log for each stranger's nonsense.
        self._unset_keepalive_if_required()
        self._unread += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nobody agrees to an upgrade. What its sender took for another protocol is not read.
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._refuse(heads.BAD_REQUEST)
        else:
            if self._unread > heads.MAX_HEAD:
                self._refuse(heads.TOO_LARGE)
            # Mostly all of a small request has come at once, and needs no timer.
            elif self._is_owed_a_body and self._linger_timer is None:
                self._linger()

    def _should_upgrade(self) -> bool:
        return False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._was_asked = True
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]  # one of ours
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._head_is_done()
        refused = heads.refused(self.parser.get_http_version(), self.url, self.headers)
        if refused:
            self._refuse(refused)
            raise HeadRefused
        if self._is_turned_away():
            return
        heads.without_underscores(self.headers)
        super().on_headers_complete()
        self.headers = NOWHERE
        if self.is_stopping:
            self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Begin to serve a request when it is its turn; what is urgent has none."""
        if _is_urgent(paths.corrected(cycle.scope["path"])):
            super()._start_asgi_task(cycle, app)
        else:
            extensions = {**self._extensions, "courier.came_at": self.loop.time()}
            cycle.scope["extensions"] = extensions  # type: ignore[typeddict-item]  # ours
            load.begin(partial(self._begin, cycle, app))

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # Who has left meanwhile is served no more.
        if not cycle.disconnected:
            super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        super().on_message_complete()
        if self._is_owed_a_body or self._linger_timer is not None:
            self._is_owed_a_body = False
            self._stop_lingering()
            if self.parser.should_keep_alive():
                self._expect_another()
            else:
                self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._open:
            self._open -= 1
            load.ended(1)
        if self.cycle.more_body:
            self._linger()

    def shutdown(self) -> None:
        if not self._was_asked:
            # Accepted a moment ago: its request is on the way, and nobody else will answer it.
            self.loop.call_later(LAST_CHANCE_S, self._close_unused)
        else:
            super().shutdown()

    def break_off(self) -> None:
        """Close the connection in the middle of an answer: without its end it looks cut."""
        # What the server would find out a moment later, and complain about until then.
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        self.transport.close()

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _head_is_done(self) -> None:
        self._unread = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _expect_another(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _is_turned_away(self) -> bool:
        """Whether this request is one too many. Then it is answered here, for next to nothing."""
        is_full = connections.are_full or len(self.tasks) >= settings.COURIER_MAX_OPEN_REQUESTS
        if not is_full and not load.turns_away():
            self._open += 1
            return False
        path = paths.of_url(self.url)
        if _is_urgent(path) or self._is_busy():
            return False
        load.turned_away += 1
        self.transport.write(shedding.answer_to(path))
        self.headers, self.cycle = NOWHERE, TURNED_AWAY
        self._is_owed_a_body = True
        return True

    def _is_busy(self) -> bool:
        """Whether requests that came before this one are still to be answered."""
        cycle = self.cycle
        return bool(cycle) and not cycle.response_complete

    def _linger(self) -> None:
        if not self.transport.is_closing():
            self._linger_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _stop_lingering(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None

    def _close_unused(self) -> None:
        if not self._was_asked:
            self.transport.close()

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

    def _refuse(self, answer: bytes) -> None:
        """Close the connection, with this answer if no other one is on its way."""
        if self.transport.is_closing():
            return
        self._head_is_done()
        if self._is_free():
            self.transport.write(answer)
        self.transport.close()

    def _is_free(self) -> bool:
        if not self._is_busy():
            return True
        # Of a request whose own body is nonsense nothing has been answered yet.
        return not self.pipeline and self.cycle.more_body and not self.cycle.response_started


def _is_urgent(path: str) -> bool:
    """Whether this server answers it under any load, and at once."""
    return paths.is_urgent(path, serves_admin=settings.COURIER_ROLE == "all")
