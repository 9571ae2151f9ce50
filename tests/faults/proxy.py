"""A TCP proxy that has faults: before an upstream, Redis, PostgreSQL or Courier itself.

    with FaultProxy(port) as proxy:          # proxy.port is where to connect
        proxy.latency_s = 0.1                # and jitter_s, rate (bytes/s), slice (bytes)
        proxy.blackhole()                    # takes bytes, passes none; `restore()` ends it
        proxy.refuse()                       # nobody listens; `restore()` ends it
        proxy.cut(), proxy.reset()           # ends all connections by FIN, or by RST
        proxy.cut_after(100, Way.DOWN)       # each connection, after so many bytes that way
        proxy.cut_at(b"COMMIT", Way.UP)      # as soon as these bytes have passed that way

It runs in a thread of its own. `UP` is towards the server, `DOWN` towards the client.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

PIECE = 64 * 1024


class Way(Enum):
    """Which way bytes go."""

    UP = "to the server"
    DOWN = "to the client"


class FaultProxy:
    """Passes bytes on, until told otherwise. Its settings hold for open connections too."""

    def __init__(self, port, host="127.0.0.1"):
        self._target = host, port
        self.latency_s = 0.0
        self.jitter_s = 0.0
        #: Bytes per second of each connection, each way; 0 is no limit.
        self.rate = 0
        #: Bytes per write at most; 0 passes on what came.
        self.slice = 0
        #: Connections so far, and those that a rule of `cut_after` or `cut_at` has ended.
        self.accepted = 0
        self.cuts = 0
        self._passes = threading.Event()
        self._passes.set()
        self._rule = None
        self._pairs = set()
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._listener.getsockname()[1]
        self._server = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._in_loop(self._listen())

    @property
    def open_connections(self):
        return len(self._pairs)

    def blackhole(self):
        """Take all bytes, and pass none on."""
        self._passes.clear()

    def refuse(self):
        """Close the port, and the connections with it."""
        self._in_loop(self._stop_listening())
        self.cut()

    def restore(self):
        """Pass everything on again; what was held back comes first."""
        self._rule = None
        self._passes.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
            self._in_loop(self._listen())

    def cut(self):
        """Close every connection, both ways."""
        self._in_loop(self._end_all(abruptly=False))

    def reset(self):
        """End every connection by a TCP reset."""
        self._in_loop(self._end_all(abruptly=True))

    def cut_after(self, size, way=Way.DOWN, *, abruptly=False):
        """End each connection, new ones and open ones, after `size` more bytes that way."""
        self._rule = _Rule(way, abruptly, lambda: _after(size))

    def cut_at(self, pattern, way=Way.UP, *, abruptly=False):
        """End a connection as soon as `pattern` has passed that way.

        Towards the server all that came with it passes, and its answer is waited for, and lost.
        """
        self._rule = _Rule(way, abruptly, lambda: _at(pattern))

    def stop(self):
        self._in_loop(self._stop_listening())
        self._in_loop(self._end_all(abruptly=True))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _in_loop(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _listen(self):
        self._server = await asyncio.start_server(self._serve, sock=self._listener)

    async def _stop_listening(self):
        if self._listener is not None:
            self._server.close()
            self._listener = None

    async def _end_all(self, *, abruptly):
        for pair in list(self._pairs):
            pair.end(abruptly=abruptly)

    async def _serve(self, reader, writer):
        self.accepted += 1
        try:
            server = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(self, (reader, writer), server)
        self._pairs.add(pair)
        try:
            await pair.run()
        finally:
            self._pairs.discard(pair)


class _Rule(NamedTuple):
    way: Way
    abruptly: bool
    #: For one connection: a function that tells how much of what comes next may still pass,
    #: and None if the connection goes on.
    follow: Callable


def _after(size):
    left = size

    def passed(data):
        nonlocal left
        left -= len(data)
        return len(data) + left if left <= 0 else None

    return passed


def _at(pattern):
    tail = b""

    def passed(data):
        nonlocal tail
        both, behind = tail + data, len(tail)
        at = both.find(pattern)
        tail = both[len(both) - len(pattern) + 1 :]
        return None if at < 0 else at + len(pattern) - behind

    return passed


class _Pair:
    """One connection: two ways."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.writers = client[1], server[1]
        self.client, self.server = client, server
        self.followed = {}
        #: The rule that ends this connection when the server answers.
        self.is_deaf = None

    async def run(self):
        ways = (
            self._pass(self.client[0], self.server[1], Way.UP),
            self._pass(self.server[0], self.client[1], Way.DOWN),
        )
        with contextlib.suppress(OSError):
            await asyncio.gather(*ways)
        self.end(abruptly=False)

    def end(self, *, abruptly):
        for writer in self.writers:
            if abruptly:
                linger = struct.pack("ii", 1, 0)
                connection = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            else:
                writer.close()

    async def _pass(self, reader, writer, way):
        while data := await reader.read(PIECE):
            arrived = time.monotonic()
            while not self.proxy._passes.is_set():
                await asyncio.sleep(0.01)
            if await self._ends_with(data, writer, way):
                return
            if self.is_deaf:
                continue
            for piece in self._sliced(data):
                await self._wait(arrived, len(piece))
                writer.write(piece)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()

    async def _ends_with(self, data, writer, way):
        """Whether the connection ends here; what may still pass has passed then."""
        if self.is_deaf:
            self.end(abruptly=self.is_deaf.abruptly)
            return True
        rule = self.proxy._rule
        if rule is None or rule.way is not way:
            return False
        passed = self.followed.setdefault(rule, rule.follow())(data)
        if passed is None:
            return False
        self.proxy.cuts += 1
        writer.write(data if way is Way.UP else data[:passed])
        await writer.drain()
        if way is Way.UP:
            self.is_deaf = rule
            return False
        self.end(abruptly=rule.abruptly)
        return True

    def _sliced(self, data):
        size = self.proxy.slice or len(data)
        return [data[at : at + size] for at in range(0, len(data), size)]

    async def _wait(self, arrived, size):
        proxy = self.proxy
        late = proxy.latency_s + random.uniform(0, proxy.jitter_s)
        wait = arrived + late - time.monotonic() if late else 0
        if proxy.rate:
            wait += size / proxy.rate
        if wait > 0:
            await asyncio.sleep(wait)
