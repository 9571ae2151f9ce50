"""One pipelined connection to Redis, for scripts that must answer fast or not at all.

redis-py's own client costs more CPU per call than a whole request may, and a cancelled call
on it closes the connection for all. Here the commands of one tick of the event loop leave in
one write, replies are matched by their order, and nobody who stops waiting disturbs that.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import hiredis
from django.conf import settings
from redis.asyncio.connection import SSLConnection, parse_url

logger = logging.getLogger(__name__)

#: If the event loop itself was late, answers may lie unread: look once more after this.
GRACE_S = 0.01
CONNECT_S = 0.3
POST_WITHIN_S = 0.02
FAILURES_TO_OPEN = 3
OPEN_FOR_S = 1.0
MAX_POSTS = 10_000
NOTHING = object()
#: What Redis's own word for a refusal means to an operator.
MEANS = {
    "NOAUTH": "NOAUTH, it asks for a password. Look at REDIS_URL",
    "WRONGPASS": "WRONGPASS, its password is another. Look at REDIS_URL",
    "NOPERM": "NOPERM, this user may not do what Courier needs",
    "OOM": "OOM, its memory is full",
    "READONLY": "READONLY, it is a replica",
}
SCRIPTS = Path(__file__).parent / "lua"


def packed(*parts: str | int) -> bytes:
    """The parts as Redis reads the arguments of a command."""
    texts = [str(part).encode() for part in parts]
    return b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts])


class Script:
    """A Lua script, called by its digest; by its source where Redis was told to forget it."""

    def __init__(self, *names: str | Path) -> None:
        self.source = "\n".join((SCRIPTS / name).read_text() for name in names)
        # SHA-1 is how Redis names scripts; it guards nothing.
        name = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        self.by_digest = packed("EVALSHA", name)
        self.by_source = packed("EVAL", self.source)


class Command:
    """One command, and what becomes of it: `succeed` or `fail` is called once."""

    __slots__ = ("arguments", "count", "sent", "since")

    def __init__(self, count: int, arguments: bytes) -> None:
        self.count = count
        self.arguments = arguments
        #: How many times it left, and since when it is waited for.
        self.sent = 0
        self.since = 0.0

    def to_bytes(self) -> bytes:
        return b"*%d\r\n%b" % (self.count, self.arguments)

    def is_unknown(self, error: str) -> bool:
        """Whether Redis only lacks the script, so that it is worth being sent again."""
        return False

    def succeed(self, reply: Any) -> None:
        raise NotImplementedError

    def fail(self) -> None:
        """No good answer came. If it was sent, it may have been carried out all the same."""
        raise NotImplementedError


class ScriptCall(Command):
    """A call of a script. Its arguments: the number of keys, the keys, then the rest."""

    __slots__ = ("carries_source", "script")

    def __init__(self, script: Script, count: int, arguments: bytes) -> None:
        super().__init__(count, arguments)
        self.script = script
        self.carries_source = False

    def to_bytes(self) -> bytes:
        script = self.script.by_source if self.carries_source else self.script.by_digest
        return b"*%d\r\n%b%b" % (self.count + 2, script, self.arguments)

    def is_unknown(self, error: str) -> bool:
        unknown = error.startswith("NOSCRIPT") and not self.carries_source
        self.carries_source = True
        return unknown


class Refused(ConnectionError):
    """Redis does not let this process in. Says why, in Redis's own word."""


class Greeting(Command):
    """A plain command that must succeed before the connection is used."""

    __slots__ = ("done",)

    def __init__(self, *parts: str | int) -> None:
        super().__init__(len(parts), packed(*parts))
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def succeed(self, reply: Any) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def fail(self) -> None:
        self.refuse(ConnectionRefusedError())

    def refuse(self, error: ConnectionError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Wire(asyncio.Protocol):
    """One connection. Replies belong to commands by their order, and by nothing else."""

    def __init__(
        self, on_reply: Callable[[Command, Any], None], on_lost: Callable[[Wire], None]
    ) -> None:
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._reader = hiredis.Reader(notEnoughData=NOTHING)
        self.awaited: deque[Command] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # a stream's

    def send(self, commands: Sequence[Command]) -> None:
        for command in commands:
            command.sent += 1
        self.awaited.extend(commands)
        self._transport.write(b"".join([command.to_bytes() for command in commands]))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not NOTHING:
                self._on_reply(self.awaited.popleft(), reply)
        except (hiredis.ProtocolError, IndexError):
            self.abort()  # Not the server that we think it is.

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(self)

    def abort(self) -> None:
        self._transport.abort()


class RedisLine:
    """The way to one Redis: connects by itself, and refuses at once while Redis is away."""

    def __init__(self, url: str, scripts: Sequence[Script]) -> None:
        #: Seconds that a caller waits for an answer, connecting included.
        self._deadline_s: float = settings.COURIER_REDIS_DEADLINE_S
        self._options: dict[str, Any] = dict(parse_url(url))
        self._scripts = scripts
        self._calls: list[Command] = []
        self._posts: deque[Command] = deque(maxlen=MAX_POSTS)
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._flushing: asyncio.TimerHandle | asyncio.Handle | None = None
        self._watching: asyncio.TimerHandle | None = None
        self._failures = 0
        self._open_until = 0.0
        self._is_flush_due = False
        self._is_late = False

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    @property
    def is_away(self) -> bool:
        """Whether Redis is not asked for a moment, because it did not answer."""
        return self._loop.time() < self._open_until

    def call(self, command: Command) -> None:
        """Send with this tick's commands. It fails unless Redis answers within the deadline."""
        command.since = self._loop.time()
        if command.since < self._open_until:
            command.fail()
            return
        self._calls.append(command)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def post(self, command: Command) -> None:
        """Send soon. While Redis is away it waits; the oldest of too many are dropped."""
        self._posts.append(command)
        if self._flushing is None:
            self._flushing = self._loop.call_later(POST_WITHIN_S, self._flush)

    async def close(self) -> None:
        """Send what waits, hear the answers if they come soon, and hang up."""
        deadline = self._loop.time() + CONNECT_S + self._deadline_s
        while self._posts or (self._wire and self._wire.awaited):
            if self._loop.time() > deadline:
                break
            await asyncio.sleep(POST_WITHIN_S)
        for handle in (self._flushing, self._watching, self._connecting):
            if handle is not None:
                handle.cancel()
        self._hang_up()

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._wire is not None:
            self._send(self._wire)
        elif self._connecting is None and self._loop.time() >= self._open_until:
            self._connecting = self._loop.create_task(self._connect())
        elif self._posts:
            self._flushing = self._loop.call_later(OPEN_FOR_S, self._flush)
        self._watch()

    def _send(self, wire: Wire) -> None:
        now = self._loop.time()
        for command in self._posts:
            command.since = now
        commands = [*self._posts, *self._calls]
        self._posts.clear()
        self._calls.clear()
        if commands:
            wire.send(commands)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                self._wire = await self._greeted_wire()
        except Refused as refusal:
            self._give_up(str(refusal))
        except (OSError, ValueError) as error:
            self._give_up(type(error).__name__)
        finally:
            self._connecting = None
        self._flush()

    async def _greeted_wire(self) -> Wire:
        wire = await self._open_wire()
        try:
            await self._greet(wire)
        except BaseException:
            wire.abort()
            raise
        return wire

    async def _open_wire(self) -> Wire:
        options = self._options

        def make_wire() -> Wire:
            return Wire(self._answered, self._lost)

        if "path" in options:
            _, wire = await self._loop.create_unix_connection(make_wire, options["path"])
        else:
            host, port = options.get("host", "localhost"), options.get("port", 6379)
            tls = self._tls_context()
            _, wire = await self._loop.create_connection(make_wire, host, port, ssl=tls)
        return wire

    def _tls_context(self) -> ssl.SSLContext | None:
        options = dict(self._options)
        if options.pop("connection_class", None) is not SSLConnection:
            return None
        return SSLConnection(**options).ssl_context.get()

    async def _greet(self, wire: Wire) -> None:
        options = self._options
        greetings = []
        if "password" in options:
            user = [options["username"]] if options.get("username") else []
            greetings.append(Greeting("AUTH", *user, options["password"]))
        greetings.append(Greeting("SELECT", options.get("db", 0)))
        greetings += [Greeting("SCRIPT", "LOAD", script.source) for script in self._scripts]
        wire.send(greetings)
        await asyncio.gather(*(greeting.done for greeting in greetings))

    def _answered(self, command: Command, reply: Any) -> None:
        if not isinstance(reply, hiredis.ReplyError):
            command.succeed(reply)
            self._succeeded(command)
        elif command.is_unknown(str(reply)):
            self.call(command)
        else:
            # The first word only: what follows may quote arguments.
            self._refused(command, str(reply).partition(" ")[0])

    def _refused(self, command: Command, word: str) -> None:
        if isinstance(command, Greeting):
            command.refuse(Refused(word))  # Whoever connects gives up.
        else:
            command.fail()
            self._failed(word)

    def _lost(self, wire: Wire) -> None:
        lost = list(wire.awaited)
        wire.awaited.clear()
        if wire is self._wire:
            self._wire = None
            if lost:
                self._failed("ConnectionLost")
        for command in lost:
            command.fail()

    def _watch(self) -> None:
        """See to it that the oldest command is looked at when its time is over."""
        oldest = self._oldest()
        if self._watching is None and oldest is not None:
            self._watching = self._loop.call_at(oldest + self._deadline_s, self._check)

    def _check(self) -> None:
        self._watching = None
        oldest = self._oldest()
        if oldest is None or oldest + self._deadline_s > self._loop.time():
            self._is_late = False
            self._watch()
        elif not self._is_late:
            self._is_late = True
            self._watching = self._loop.call_later(GRACE_S, self._check)
        else:
            self._is_late = False
            self._give_up("Timeout")

    def _oldest(self) -> float | None:
        if self._wire is not None and self._wire.awaited:
            return self._wire.awaited[0].since
        return self._calls[0].since if self._calls else None

    def _give_up(self, why: str) -> None:
        """Fail all who wait, and begin anew with another connection."""
        self._hang_up()
        self._fail_waiting()
        self._failed(why)

    def _fail_waiting(self) -> None:
        waiting, self._calls = self._calls, []
        for command in waiting:
            command.fail()

    def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.abort()

    def _failed(self, why: str) -> None:
        self._failures += 1
        if self._failures < FAILURES_TO_OPEN:
            return
        if self._failures == FAILURES_TO_OPEN:
            logger.warning("Redis cannot be used: %s", MEANS.get(why, why))
        self._open_until = self._loop.time() + OPEN_FOR_S
        self._hang_up()
        self._fail_waiting()

    def _succeeded(self, command: Command) -> None:
        if isinstance(command, Greeting):
            return
        if self._failures >= FAILURES_TO_OPEN:
            logger.info("Redis can be used again")
        self._failures = 0
