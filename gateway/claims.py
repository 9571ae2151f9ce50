"""Whose an idempotency key is, and what became of the request: in process, or in Redis for all."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from accounts.errors import LimitsUnavailable
from accounts.redis_commands import Script, ScriptCall, packed
from accounts.redis_limits import Question
from accounts.redis_line import RedisLine
from gateway import idempotency_errors

#: For how long a key is remembered, in seconds.
KEPT_S = 24 * 60 * 60
#: An instance that has not been heard of for so long has died, and its request with it.
LEASE_S = 60.0
RENEW_EVERY_S = 20.0
#: Keys that one process remembers without Redis. Then the oldest is forgotten: were new ones
#: refused instead, one client with many could keep all others out for a day.
MOST_CLAIMS = 100_000
MOST_SENDS = 3

LUA = Path(__file__).parent / "lua"
CLAIM = Script(LUA / "claim_key.lua")
KEEP = Script(LUA / "keep_outcome.lua")
RELEASE = Script(LUA / "release_key.lua")
RENEW = Script(LUA / "renew_key.lua")


class State(StrEnum):
    """What is known of a key."""

    NEW = "new"
    OTHER = "other"
    RUNNING = "running"
    LOST = "lost"
    DONE = "done"


class Verdict(NamedTuple):
    """What is known of a key, and the sealed answer if there is one."""

    state: State
    answer: str = ""


class Claims(Protocol):
    """Who has which key. Names and digests are keyed hashes; a token is the asker's own."""

    async def claim(self, name: str, digest: str, token: str) -> Verdict:
        """Take the key, or learn who has it. Raises IdempotencyUnavailable."""
        ...

    def keep(self, name: str, digest: str, token: str, answer: str) -> None:
        """The request is done, and was charged."""
        ...

    def release(self, name: str, token: str) -> None:
        """The request came to nothing: it may be asked again."""
        ...

    def renew(self, name: str, digest: str, token: str) -> None:
        """Whoever has the key is alive. It is theirs again if the store has lost it."""
        ...

    async def close(self) -> None: ...


class LocalClaims:
    """Keys of the only process there is."""

    def __init__(self) -> None:
        #: Digests of what is being answered: no more than requests are served at the same time.
        self._running: dict[str, str] = {}
        #: Of what is done the digest, and until when it is remembered; the oldest first.
        self._done: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._now = asyncio.get_running_loop().time

    async def claim(self, name: str, digest: str, token: str) -> Verdict:
        self._forget_old()
        done = self._done.get(name)
        known = done[0] if done else self._running.get(name)
        if known is None:
            self._running[name] = digest
            return Verdict(State.NEW)
        if known != digest:
            return Verdict(State.OTHER)
        return Verdict(State.DONE if done else State.RUNNING)

    def keep(self, name: str, digest: str, token: str, answer: str) -> None:
        self._done[name] = (self._running.pop(name), self._now() + KEPT_S)
        if len(self._done) > MOST_CLAIMS:
            self._done.popitem(last=False)

    def release(self, name: str, token: str) -> None:
        self._running.pop(name, None)

    def renew(self, name: str, digest: str, token: str) -> None:
        """Whoever has a key of this process lives as long as it does."""

    async def close(self) -> None:
        """Nothing is open."""

    def _forget_old(self) -> None:
        now = self._now()
        while self._done and next(iter(self._done.values()))[1] <= now:
            self._done.popitem(last=False)


class RedisClaims:
    """Keys of all processes. They go another way than limits, which answers would hold up."""

    def __init__(self, url: str) -> None:
        self._line = RedisLine(url, (CLAIM, KEEP, RELEASE, RENEW))

    async def claim(self, name: str, digest: str, token: str) -> Verdict:
        parts = (digest, token, _ms(LEASE_S), _ms(KEPT_S))
        claiming = Claiming(packed(1, _key(name), *parts), lambda: self.release(name, token))
        self._line.call(claiming)
        try:
            state, answer = await claiming.answer
        except LimitsUnavailable:
            raise idempotency_errors.IdempotencyUnavailable from None
        except asyncio.CancelledError:
            claiming.abandon()
            raise
        return Verdict(State(state.decode()), answer.decode())

    def keep(self, name: str, digest: str, token: str, answer: str) -> None:
        self._post(KEEP, name, digest, token, answer, _ms(KEPT_S))

    def release(self, name: str, token: str) -> None:
        self._post(RELEASE, name, token)

    def renew(self, name: str, digest: str, token: str) -> None:
        self._post(RENEW, name, digest, token, _ms(LEASE_S), _ms(KEPT_S))

    async def close(self) -> None:
        await self._line.close()

    def _post(self, script: Script, name: str, *parts: str | int) -> None:
        arguments = packed(1, _key(name), *parts)
        self._line.post(Report(self._line, script, len(parts) + 2, arguments))


class Claiming(Question):
    """The question whose a key is. If nobody hears that it is the asker's, it is let go."""

    __slots__ = ("_let_go",)

    def __init__(self, arguments: bytes, let_go: Callable[[], None]) -> None:
        super().__init__(CLAIM, 6, arguments)
        self._let_go = let_go

    def succeed(self, reply: Any) -> None:
        is_heard = not self.answer.done()
        super().succeed(reply)
        if not is_heard:
            self._let_go()

    def fail(self) -> None:
        super().fail()
        if self.sent:
            self._let_go()

    def abandon(self) -> None:
        """Whoever waited has left; the answer may have come a moment before."""
        if not self.answer.cancelled():
            self._let_go()


class Report(ScriptCall):
    """What Redis is told and nobody waits for. Told again if it got lost: twice does no harm."""

    __slots__ = ("_line",)

    def __init__(self, line: RedisLine, script: Script, count: int, arguments: bytes) -> None:
        super().__init__(script, count, arguments)
        self._line = line

    def succeed(self, reply: Any) -> None:
        pass

    def fail(self) -> None:
        if self.sent < MOST_SENDS:
            self._line.post(self)


def _key(name: str) -> str:
    return f"courier:idempotency:{name}"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
