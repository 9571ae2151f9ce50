"""One server process: `python -m courier_site.serve`."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType

import django
import uvicorn
from django.core.exceptions import ImproperlyConfigured

from courier_site.listener import CannotListen, bound, refuse_new

BACKLOG = 2048
#: How long open requests may take to end after Ctrl-C, for somebody is waiting, in seconds.
HASTY_DRAIN_S = 1.5
#: How long connections are still accepted that the kernel has begun already, in seconds, and after
#: that those that it has made.
LAST_ACCEPT_S = 0.1
#: Idle connections are kept longer than balancers keep theirs, which then close first.
KEEP_ALIVE_S = 75
#: Names the socket that a supervisor opened and its server processes share.
LISTENER = "COURIER_LISTENER_FD"
#: When to look for garbage. Python's own 700 objects are a few requests in flight, which
#: free themselves; each look at them, and soon at all of the process, is a pause for all.
COLLECT_AFTER = (10_000, 20, 50)
#: For how long a thread that brings usage to the database, or makes a page of the admin, keeps
#: the interpreter while the event loop waits for it, in seconds. Python's own 5 ms are several
#: requests.
SWITCH_AFTER_S = 0.001


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
        await _all_accepted(sockets or ())
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        sys.setswitchinterval(SWITCH_AFTER_S)


async def _all_accepted(listeners: Iterable[socket.socket]) -> None:
    """Wait until none is left that the kernel has made: the loop accepts one in each turn.

    More than the backlog are none of those, where it goes on making them. That is counted, and no
    time is kept, for a process may stand still here.
    """
    waiting = select.poll()
    for listener in listeners:
        waiting.register(listener, select.POLLIN)
    for _ in range(BACKLOG + 1):
        if not waiting.poll(0):
            break
        await asyncio.sleep(0)
    # In the next turn the last one is among those that the server waits for.
    await asyncio.sleep(0)


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
