"""The process of the chaos upstream: `python -m tests.faults.chaos RECORD`. Knows no framework.

It prints the ports it listens on, for requests and for orders, and serves until its standard
input is closed. What it does is told by `tests.faults.upstream`, which starts it.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
import ssl
import struct
import sys
import time
import warnings
from collections import defaultdict, deque

from tests.fakes import upstream as fake

_MODEL_OF_A_FORM = re.compile(rb'name="model"\r\n\r\n(.*?)\r\n')
_HEADERS_THAT_NAME_A_KEY = ("authorization", "x-api-key", "api-key", "x-goog-api-key")


class Record:
    """What happened, a line of JSON each, written before it can have an effect."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, event, **facts):
        line = json.dumps({"event": event, "at": time.monotonic(), **facts})
        os.write(self._file, line.encode() + b"\n")


class Chaos:
    """All connections, and what is to be answered to which model."""

    def __init__(self, record):
        self.record = record
        self.connections = set()
        self.always = {}
        self.once = defaultdict(deque)
        self.requests = 0
        #: Pieces that were passed on to clients, as far as it was told.
        self.passed_on = 0
        self._servers = []

    async def listen(self, context=None):
        """Listen on one more port; returns its number."""
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        server = await loop.create_server(lambda: Connection(self), sock=listener, ssl=context)
        self._servers.append(server)
        return listener.getsockname()[1]

    def steps_for(self, request):
        model = request["model"]
        if self.once[model]:
            return self.once[model].popleft()
        return self.always.get(model) or steps_of_a_model(request)

    async def obey(self, order):
        """Carry out one order; returns what is answered to it."""
        match order["do"]:
            case "always":
                self.always[order["model"]] = order["steps"]
            case "once":
                self.once[order["model"]].append(order["steps"])
            case "notice":
                self.passed_on += 1
            case "forget":
                self.always.clear()
                self.once.clear()
                for connection in list(self.connections):
                    connection.transport.abort()
            case "listen":
                return {"port": await self.listen(_context(**order["tls"]))}
        return {}


def _context(certificate, key, oldest="TLSv1_2", newest="TLSv1_3"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with contextlib.suppress(ValueError), warnings.catch_warnings(action="ignore"):
        # Old versions are refused by OpenSSL itself at the usual level of security.
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion[oldest]
        context.maximum_version = ssl.TLSVersion[newest]
    return context


def steps_of_a_model(request):
    """What a well-behaved model sends, with as many tokens as its number says.

    The models `words-40-0.05` say 40 words with 0.05 s before each.
    """
    said, pause = 3 + request["number"] % 29, 0
    if request["model"].startswith("words-"):
        _, said, pause = (*request["model"].split("-"), 0)[:3]
    given, said = 5 + request["number"] % 53, int(said)
    usage = fake.usage_of(given, said)
    words = ["word "] * said
    tokens = {"tokens": [given, said]}
    if not request["streams"]:
        body = fake.completion("".join(words), model=request["model"], usage=usage)
        return [tokens, _text(_head(fake.JSON, b"content-length: %d" % len(body)) + body)]
    steps = [tokens, _text(_head(fake.SSE, b"transfer-encoding: chunked") + _chunk(fake.OPENING))]
    for word in words:
        steps += [{"pause": float(pause)}] if pause else []
        steps.append(_text(_chunk(fake.chunk(word))))
    ending = fake.STOP + (fake.usage_chunk(given, said) if request["tells_usage"] else b"")
    return [*steps, _text(_chunk(ending + fake.DONE) + b"0\r\n\r\n")]


def _head(kind, length):
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s\r\n\r\n" % (kind.encode(), length)


def _chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def _text(data):
    return data.decode("latin-1")


class Connection(asyncio.Protocol):
    """One client: reads requests one after the other and plays the steps for each."""

    numbers = iter(range(1, 1 << 62))

    def __init__(self, chaos):
        self.chaos = chaos
        self.note = chaos.record.note
        self.number = next(self.numbers)
        self.buffer = bytearray()
        self.task = None
        self.transport = None
        self.writable = asyncio.Event()
        self.writable.set()
        self.sent = 0

    def connection_made(self, transport):
        self.transport = transport
        self.chaos.connections.add(self)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.note("connected", connection=self.number)

    def connection_lost(self, error):
        self.chaos.connections.discard(self)
        self.note("disconnected", connection=self.number, answering=self.task is not None)
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self):
        self.writable.clear()
        self.note("client does not read", connection=self.number)

    def resume_writing(self):
        self.writable.set()

    def data_received(self, data):
        self.buffer += data
        if self.task is None:
            self._next_request()

    def _next_request(self):
        request = self._read_request()
        if request is not None:
            self.chaos.requests += 1
            request["number"] = self.chaos.requests
            self.note("request", connection=self.number, **request)
            self.task = asyncio.ensure_future(self._answer(request))

    def _read_request(self):
        head, separator, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        if not separator:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = [[name.lower(), value.strip()] for name, _, value in _parted(lines)]
        body, used = fake._body(dict(headers), rest)
        if body is None:
            return None
        del self.buffer[: len(head) + 4 + used]
        return _described(first, headers, body)

    async def _answer(self, request):
        self.sent, tokens, how = 0, None, "left"
        self.passed_on = self.chaos.passed_on
        try:
            for step in self.chaos.steps_for(request):
                if isinstance(step, dict) and "tokens" in step:
                    tokens = step["tokens"]
                    continue
                how = await self._play(step)
                if how:
                    break
            how = how or "complete"
        except asyncio.CancelledError:
            how = "left"
            raise
        finally:
            self.note(
                "answer",
                number=request["number"],
                model=request["model"],
                how=how,
                bytes=self.sent,
                tokens=tokens,
            )
        self.task = None
        if how == "complete":
            self._next_request()

    async def _play(self, step):
        """Play one step. Returns how the connection has ended, if it has."""
        if isinstance(step, str):
            await self._send(step.encode("latin-1"))
        elif "pause" in step:
            await asyncio.sleep(step["pause"])
        elif "heard" in step:
            self.passed_on += step["heard"]
            while self.chaos.passed_on < self.passed_on:
                await asyncio.sleep(fake.LOOK_EVERY_S)
        elif "end" in step:
            return await self._end(step["end"])
        else:
            data, left = step["again"].encode("latin-1"), step["times"]
            while left:
                left -= 1
                await self._send(data)
                await asyncio.sleep(step["every"])
        return None

    async def _send(self, data):
        await self.writable.wait()
        self.sent += len(data)
        self.transport.write(data)

    async def _end(self, how):
        if how == "stall":
            await asyncio.Event().wait()
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            self.transport.abort()
        else:
            self.transport.close()
        return how


def _parted(lines):
    return (line.partition(":") for line in lines)


def _described(first, headers, body):
    """A request as it is recorded, with what the well-behaved answer depends on."""
    method, path, _ = first.split(" ")
    named = dict(headers)
    keys = (named[name] for name in _HEADERS_THAT_NAME_A_KEY if name in named)
    try:
        asked = json.loads(body)
    except ValueError:
        found = _MODEL_OF_A_FORM.search(body)
        asked = {"model": found[1].decode() if found else ""}
    return {
        "method": method,
        "path": path,
        "headers": headers,
        "key": next(keys, "").removeprefix("Bearer "),
        "model": str(asked.get("model", "")),
        "streams": bool(asked.get("stream")),
        "tells_usage": bool((asked.get("stream_options") or {}).get("include_usage")),
        "body": body.decode("latin-1"),
    }


async def take_orders(chaos, reader, writer):
    while line := await reader.readline():
        answer = await chaos.obey(json.loads(line))
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
    writer.close()


async def main(path):
    chaos = Chaos(Record(path))
    orders = await asyncio.start_server(
        lambda *ends: take_orders(chaos, *ends), "127.0.0.1", 0, limit=1 << 26
    )
    ports = {"port": await chaos.listen(), "orders": orders.sockets[0].getsockname()[1]}
    print(json.dumps(ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
