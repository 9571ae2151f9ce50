"""Load on one address, by clients that keep their connections and do not wait for each other.

    seen = await saturate(port, request, clients=32, for_s=3)     # each asks again at once
    seen = await offer(port, request, rate=500, for_s=5)          # whatever becomes of them
    seen = apart(offer, port, request, rate=500, for_s=5)         # by a process of its own

`offer` is an open loop: requests are due at fixed times, and each answer counts from when its
request was due, so that a server that falls behind cannot slow the load down.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

#: Connections of an open loop, at most. Who finds none free waits, and that counts.
MOST_CONNECTIONS = 800


@dataclass
class Seen:
    """What became of the requests: status and seconds, None as the status of a failure."""

    for_s: float
    answers: list = field(default_factory=list)
    #: Requests that were due and had no answer at the end.
    open: int = 0

    def count(self, status):
        return sum(each == status for each, _ in self.answers)

    def rate(self, status=200):
        return self.count(status) / self.for_s

    def within(self, share, status=200):
        """Seconds within which so many of the answers with this status came: 0.99 for p99."""
        times = sorted(seconds for each, seconds in self.answers if each == status)
        return times[min(int(len(times) * share), len(times) - 1)] if times else float("nan")


class Client(asyncio.Protocol):
    """One connection. Tells `done(client, status)` of each answer; reads bodies by their length."""

    def __init__(self, done):
        self._done = done
        self._data = b""
        self.transport = None
        self.due_at = 0.0
        self.is_busy = False

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exc):
        if self.is_busy:
            self._done(self, None)

    def ask(self, request, due_at):
        self.due_at, self.is_busy = due_at, True
        self.transport.write(request)

    def data_received(self, data):
        self._data += data
        head, separator, body = self._data.partition(b"\r\n\r\n")
        if not separator:
            return
        at = head.find(b"content-length: ") + 16
        if len(body) >= int(head[at : head.find(b"\r", at) if b"\r" in head[at:] else None]):
            self._data, self.is_busy = b"", False
            self._done(self, int(head[9:12]))


async def saturate(port, request, *, clients, for_s):
    """The most that so many clients get."""
    return await _Run(port, request, for_s, clients).closed()


async def offer(port, request, *, rate, for_s):
    """What becomes of so many requests per second."""
    return await _Run(port, request, for_s, MOST_CONNECTIONS).opened(rate)


def apart(load, port, request, **options):
    """The same from a process that has the last core for itself, as far as may be."""
    words = {"load": load.__name__, "port": port, "request": request.decode(), **options}
    command = [sys.executable, "-m", "tests.faults.load", json.dumps(words)]
    with tempfile.TemporaryFile() as told:
        with subprocess.Popen(command, stdout=told, start_new_session=True) as generator:
            favor(generator.pid, max(os.sched_getaffinity(0)))
        told.seek(0)
        return Seen(**json.load(told))


def favor(pid, core):
    """Keep a process to one core, and have the machine's other work wait for it if we may."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
        Path(f"/proc/{pid}/autogroup").write_text("-19")


def main():
    words = json.loads(sys.argv[1])
    load, request = globals()[words.pop("load")], words.pop("request").encode()
    seen = uvloop.run(load(words.pop("port"), request, **words))
    print(json.dumps(asdict(seen)))


class _Run:
    def __init__(self, port, request, for_s, connections):
        self.port, self.request = port, request
        self.seen = Seen(for_s)
        self.free, self.waiting = deque(), deque()
        self.connections, self.clients = connections, []
        self.is_closed_loop = False
        self.ends_at = 0.0

    async def closed(self):
        self.is_closed_loop = True
        for _ in range(self.connections):
            await self._connect()
        self.ends_at = time.monotonic() + self.seen.for_s
        for client in self.clients:
            client.ask(self.request, time.monotonic())
        await self._finish(self.clients)
        return self.seen

    async def opened(self, rate):
        # All of them now: a load that waits to be let in offers less than it says.
        self.free.extend(await asyncio.gather(*(self._connect() for _ in range(self.connections))))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        self.ends_at = began + self.seen.for_s
        asked = 0
        while (now := time.monotonic()) < self.ends_at:
            while asked < (now - began) * rate:
                await self._ask(began + asked / rate)
                asked += 1
            await asyncio.sleep(0.002)
        await self._finish(self.clients)
        self.seen.open = asked - len(self.seen.answers)
        return self.seen

    async def _finish(self, clients):
        await asyncio.sleep(max(self.ends_at - time.monotonic(), 0) + 0.5)
        self.ends_at = 0.0
        for client in clients:
            client.transport.abort()

    async def _connect(self):
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Client(self._done), "127.0.0.1", self.port)
        self.clients.append(client)
        return client

    async def _ask(self, due_at):
        while self.free and self.free[0].transport.is_closing():
            self.clients.remove(self.free.popleft())
        # In turn: one that is never used is closed by the server, maybe just when it is.
        if self.free:
            self.free.popleft().ask(self.request, due_at)
        elif len(self.clients) < self.connections:
            (await self._connect()).ask(self.request, due_at)
        else:
            self.waiting.append(due_at)

    def _done(self, client, status):
        now = time.monotonic()
        if not self.ends_at:
            return
        self.seen.answers.append((status, now - client.due_at))
        if status is None:
            return
        if self.is_closed_loop:
            if now < self.ends_at:
                client.ask(self.request, now)
        elif self.waiting:
            client.ask(self.request, self.waiting.popleft())
        else:
            self.free.append(client)


if __name__ == "__main__":
    main()
