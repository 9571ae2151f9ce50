"""A client that sends exactly these bytes, and reads what comes back.

    answers = await talk(port, b"GET / HTTP/1.1\\r\\n\\r\\n")
    [answer.status for answer in answers], answers.was_closed, answers.raw

`Talk` is the same step by step, for what happens over time.
"""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass

from tests.fakes.upstream import Pause

#: An answer that does not come, or a connection that is not closed, is waited for so long.
WITHIN_S = 30.0


@dataclass
class Reply:
    """One answer. `headers` are pairs as they came, names in lower case."""

    status: int
    headers: list
    body: bytes
    #: Whether all of the body came.
    is_whole: bool = True

    def header(self, name):
        """The header's value, None without it; several are joined as RFC 9110 has it."""
        values = [value for each, value in self.headers if each == name]
        return ", ".join(values) if values else None

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["code"]


@dataclass
class Replies(list):
    """All answers that one connection gave, in order."""

    raw: bytes = b""
    #: Whether the server has closed the connection, cleanly or by a reset.
    was_closed: bool = False


async def talk(port, *sent, answers=1, within_s=WITHIN_S, quiet_s=0.3, half_close=False):
    """Send bytes and `Pause`s on one connection; read until it is closed, or silent after answers.

    `quiet_s` is how long nothing may come after so many whole `answers`, until the connection
    counts as kept open; None of one that will be closed. `half_close` ends the client's side, as
    `nc -N` does.
    """
    async with Talk(port) as connection:
        for piece in sent:
            await connection.send(piece)
        if half_close:
            connection.writer.write_eof()
        was_closed = await connection.read_all(within_s, quiet_s, answers)
        replies = Replies(connection.raw, was_closed)
        replies.extend(parsed(connection.raw))
        return replies


class Talk:
    """One connection, step by step."""

    def __init__(self, port, host="127.0.0.1"):
        self._address = host, port
        self.raw = b""
        self.reader = self.writer = None

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(self, *exception):
        self.writer.transport.abort()

    async def send(self, piece):
        """Send bytes, or wait. A connection that the server has closed swallows them."""
        if isinstance(piece, Pause):
            await asyncio.sleep(piece.seconds)
            return
        try:
            self.writer.write(piece)
            await self.writer.drain()
        except OSError:
            pass

    async def read_some(self, within_s=WITHIN_S):
        """What comes next; empty if the connection was closed. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            try:
                data = await self.reader.read(1 << 16)
            except OSError:
                data = b""
        self.raw += data
        return data

    async def read_reply(self, within_s=WITHIN_S):
        """The next answer, whole; None if the connection was closed instead."""
        before = len(parsed(self.raw))
        async with asyncio.timeout(within_s):
            while True:
                replies = parsed(self.raw)
                if len(replies) > before and replies[before].is_whole:
                    return replies[before]
                if not await self.read_some(within_s):
                    return None

    async def closed_within(self, within_s):
        """Seconds until the server closed the connection. Raises TimeoutError."""
        began = time.monotonic()
        async with asyncio.timeout(within_s):
            while await self.read_some(within_s):
                pass
        return time.monotonic() - began

    async def read_all(self, within_s, quiet_s, answers=1):
        """Read until the connection is closed, or quiet after so many whole answers: then False."""
        give_up_at = time.monotonic() + within_s
        while (left := give_up_at - time.monotonic()) > 0:
            whole = sum(reply.is_whole for reply in parsed(self.raw))
            waits_for_silence = quiet_s is not None and whole >= answers
            try:
                if not await self._read_unless_quiet(quiet_s if waits_for_silence else left):
                    return True
            except TimeoutError:
                return False
        return False

    async def _read_unless_quiet(self, quiet_s):
        # In parts: where the machine stands still the time may be over before the server had any.
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                return await self.read_some(quiet_s / 3)
        return await self.read_some(quiet_s / 3)


def parsed(raw):
    """The answers in what a connection has sent; the last may be incomplete."""
    replies = []
    while raw:
        head, separator, rest = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        if not separator or not first.startswith("HTTP/"):
            break
        pairs = (line.partition(":") for line in lines)
        reply = Reply(
            int(first.split(" ")[1]),
            [(name.lower(), value.strip()) for name, _, value in pairs],
            b"",
        )
        reply.body, raw, reply.is_whole = _body(reply, rest)
        replies.append(reply)
        if not reply.is_whole:
            break
    return replies


def _body(reply, rest):
    """The body, what is behind it, and whether it was all there."""
    if reply.status < 200 or reply.status in {204, 304}:
        return b"", rest, True
    if reply.header("transfer-encoding") == "chunked":
        return _chunks(rest)
    size = int(reply.header("content-length") or 0)
    return rest[:size], rest[size:], len(rest) >= size


def _chunks(rest):
    body = b""
    while True:
        line, separator, behind = rest.partition(b"\r\n")
        if not separator:
            return body, b"", False
        size = int(line.split(b";")[0], 16)
        if len(behind) < size + 2:
            return body + behind[:size], b"", False
        body, rest = body + behind[:size], behind[size + 2 :]
        if not size:
            return body, rest, True
