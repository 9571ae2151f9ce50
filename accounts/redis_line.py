"""One pipelined connection to Redis, for scripts that must answer fast or not at all.

redis-py's own client costs more CPU per call than a whole request may, and a cancelled call
on it closes the connection for all. Here the commands of one tick of the event loop leave in
one write, replies are matched by their order, and nobody who stops waiting disturbs that.

While an answer is overdue nobody else waits for one: a request that asks more than once meets one
deadline, and those after it none. The connection stays for a while, so that a Redis which was
slow is asked again the moment it has answered all that it owes.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import hiredis
from django.conf import settings
from redis.asyncio.connection import SSLConnection, parse_url

from accounts.redis_commands import Command, Script, packed

logger = logging.getLogger(__name__)

#: If the event loop itself was late, answers may lie unread: look once more after this.
GRACE_S = 0.01
CONNECT_S = 0.3
#: For how long an answer may be overdue until the connection is given up.
OVERDUE_S = 1.0
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
        #: An answer did not come in time, and not all that Redis owes has come since.
        self._is_overdue = False

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    @property
    def is_away(self) -> bool:
        """Whether Redis is not asked for a moment, because it did not answer."""
        return self._is_overdue or time.monotonic() < self._open_until

    def call(self, command: Command) -> None:
        """Send with this tick's commands. It fails unless Redis answers within the deadline."""
        if self.is_away:
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
        deadline = time.monotonic() + CONNECT_S + self._deadline_s
        while self._posts or (self._wire and self._wire.awaited):
            if time.monotonic() > deadline:
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
        now = time.monotonic()
        for command in self._calls:
            # Not when it was asked: what our own loop took until now is not Redis's.
            command.since = command.since or now
        if self._wire is not None:
            self._send(self._wire, now)
        elif self._connecting is None and now >= self._open_until:
            self._connecting = self._loop.create_task(self._connect())
        elif self._posts or self._is_overdue:
            self._flushing = self._loop.call_later(OPEN_FOR_S, self._flush)
        self._watch()

    def _send(self, wire: Wire, now: float) -> None:
        if self._is_overdue:
            return  # What is posted waits until all answers have come.
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
                self._caught_up()
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
        if self._is_overdue and self._wire is not None and not self._wire.awaited:
            self._caught_up()
            self._flush()

    def _caught_up(self) -> None:
        """Nothing is overdue any more: what is asked from now on has its own time."""
        self._is_overdue = self._is_late = False
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

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
        if self._is_overdue:
            self._flush()

    def _watch(self) -> None:
        """See to it that the oldest command is looked at when its time is over."""
        ends = self._ends()
        if self._watching is None and ends is not None:
            self._watching = self._loop.call_later(ends - time.monotonic(), self._check)

    def _check(self) -> None:
        self._watching = None
        ends = self._ends()
        if ends is None or ends > time.monotonic():
            self._is_late = False
            self._watch()
        elif not self._is_late:
            self._is_late = True
            self._watching = self._loop.call_later(GRACE_S, self._check)
        else:
            self._is_late = False
            self._time_is_over()

    def _ends(self) -> float | None:
        """When the time of the oldest command is over, or that of a connection which is overdue."""
        oldest = self._oldest()
        if oldest is None:
            return None
        return oldest + self._deadline_s + OVERDUE_S * self._is_overdue

    def _time_is_over(self) -> None:
        if self._is_overdue:
            self._give_up("Timeout")
        else:
            self._is_overdue = True
            for command in self._wire.awaited if self._wire is not None else ():
                command.overdue()
            self._fail_waiting()
            self._failed("Timeout")
        self._flush()

    def _oldest(self) -> float | None:
        if self._wire is not None:
            # What is not sent yet leaves in this very tick.
            return self._wire.awaited[0].since if self._wire.awaited else None
        return self._calls[0].since or None if self._calls else None

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
        self._open_until = time.monotonic() + OPEN_FOR_S
        self._hang_up()
        self._fail_waiting()

    def _succeeded(self, command: Command) -> None:
        if isinstance(command, Greeting) or self._is_overdue:
            return  # What comes too late is no reason to wait again.
        if self._failures >= FAILURES_TO_OPEN:
            logger.info("Redis can be used again")
        self._failures = 0
