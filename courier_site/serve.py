"""One server process: `python -m courier_site.serve`."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import gc
import math
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from types import FrameType

import django
import uvicorn
from django.core.exceptions import ImproperlyConfigured

BACKLOG = 2048
#: Data that a client has not acknowledged for so long, or that long without a sign of life, means
#: that its machine is gone.
DEAD_PEER_S = 30
#: What the kernel takes for a client beyond what is on its way to it, in bytes. By itself it takes
#: megabytes: of memory, and of answers that are paid for and that nobody may read.
MOST_UNSENT = 128 * 1024
#: How long open requests may take to end after Ctrl-C, for somebody is waiting, in seconds.
HASTY_DRAIN_S = 1.5
#: How long connections that the kernel has made already are still accepted, in seconds.
LAST_ACCEPT_S = 0.1
SO_ATTACH_FILTER, BPF_RET_K = 26, 0x06
#: Idle connections are kept longer than balancers keep theirs, which then close first.
KEEP_ALIVE_S = 75
#: Names the socket that a supervisor opened and its server processes share.
LISTENER = "COURIER_LISTENER_FD"
#: When to look for garbage. Python's own 700 objects are a few requests in flight, which
#: free themselves; each look at them, and soon at all of the process, is a pause for all.
COLLECT_AFTER = (10_000, 20, 50)


class CannotListen(Exception):
    """The address cannot be had. The message says why."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that has this address. Connections are refused until a server listens on it."""
    if not 0 < port < 65536:
        raise CannotListen(f"PORT cannot be {port}: it is a number from 1 to 65535.")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _heed_peers(listener)
        listener.bind(address)
    except OSError as error:
        reason = (
            "is in use already"
            if error.errno == errno.EADDRINUSE
            else f"cannot be had: {error.strerror}"
        )
        raise CannotListen(f"The address {host}:{port} {reason}. Set HOST and PORT.") from error
    return listener


def _heed_peers(listener: socket.socket) -> None:
    """Let the kernel end connections whose peer is gone, and take little for one that is slow.

    Connections that are accepted inherit it.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", DEAD_PEER_S // 2),
        ("TCP_KEEPINTVL", DEAD_PEER_S // 6),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", DEAD_PEER_S * 1000),
        ("TCP_NOTSENT_LOWAT", MOST_UNSENT),
    ):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def refuse_new(listener: socket.socket) -> None:
    """Have the kernel make no more connections; those that it has made can still be accepted.

    Closing alone would reset the latter, after their clients have sent a request. A filter that
    lets nothing through (classic BPF, `ret 0`) drops what asks for a connection. It is asked for
    again a second later, and then refused, so that balancers try the next server. Some kernels
    grant no filter to processes without capabilities: then only the moment of closing is lost.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RET_K, 0, 0, 0))
    drop_all = struct.pack("HP", 1, ctypes.addressof(program))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, drop_all)


class Server(uvicorn.Server):
    """Stops in an order that balancers can follow; keeps the garbage collector from pausing it."""

    def __init__(self, config: uvicorn.Config, delay_s: float, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._delay_s = delay_s
        self._on_stop = on_stop
        #: When the listener closes: a time of the monotonic clock.
        self._closes_at = math.inf

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Be not ready from now on; close the listener when balancers have seen that."""
        super().handle_exit(sig, frame)
        self._on_stop()
        if sig == signal.SIGINT:
            most = self.config.timeout_graceful_shutdown or 0
            self.config.timeout_graceful_shutdown = min(most, HASTY_DRAIN_S)  # type: ignore[assignment]  # waits for any number of seconds
        else:
            self._closes_at = min(self._closes_at, time.monotonic() + self._delay_s)
            self.should_exit = False

    async def on_tick(self, counter: int) -> bool:
        if time.monotonic() >= self._closes_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if LISTENER not in os.environ:
            for listener in sockets or ():
                refuse_new(listener)
        await asyncio.sleep(LAST_ACCEPT_S)
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)


def run(listener: socket.socket) -> None:
    """Serve until a signal, then let open streams end for as long as they may."""
    from django.conf import settings

    from courier_site import health
    from courier_site.connections import connections
    from courier_site.protocol import BoundedProtocol

    connections.take_limits()

    def stopping() -> None:
        health.stopping()
        BoundedProtocol.is_stopping = True

    config = uvicorn.Config(
        "courier_site.asgi:application",
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.COURIER_DRAIN_S),
        access_log=False,
        server_header=False,
        # `gateway.client_address` and `admin_gate` know whom to believe.
        proxy_headers=False,
        log_config=None,
    )
    # uvicorn raises the signal again when all is done: a stop that was asked for is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    server = Server(config, settings.COURIER_STOP_DELAY_S, stopping)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "courier_site.settings")
    try:
        django.setup(set_prefix=False)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    from django.conf import settings

    from courier_site import checks

    inherited = os.environ.get(LISTENER)
    try:
        if inherited:
            listener = socket.socket(fileno=int(inherited))
        else:
            listener = bound(settings.COURIER_HOST, settings.COURIER_PORT)
        checks.require()
    except (CannotListen, checks.Misconfigured) as error:
        sys.exit(str(error))
    run(listener)


if __name__ == "__main__":
    main()
