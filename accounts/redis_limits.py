"""The store of limits that all processes share: scripts in Redis, one call per question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from accounts.errors import LimitsUnavailable
from accounts.limits import CONCURRENCY, TOKENS, Limits, Look, Verdict, slot_us
from accounts.principals import Limit
from accounts.redis_line import RedisLine, Script, ScriptCall, packed

ADMIT = Script("windows.lua", "admit.lua")
SETTLE = Script("windows.lua", "settle.lua")
LOOK = Script("windows.lua", "look.lua")
RENEW = Script("windows.lua", "renew.lua")

#: A settlement that Redis refuses again and again is not worth more.
MOST_SENDS = 3

Clock = Callable[[], int]


def redis_clock() -> int:
    """0 asks the scripts for Redis's own time, the only one that all processes share."""
    return 0


class RedisStore:
    """Limits over all processes, each checked and reserved in one step inside Redis."""

    def __init__(self, url: str, now_us: Clock = redis_clock) -> None:
        self._line = RedisLine(url, (ADMIT, SETTLE, LOOK, RENEW))
        self._now_us = now_us

    async def admit(self, limits: Limits, lease: str, tokens: int) -> Verdict:
        admission = Admission(self, limits, lease, tokens, self._now_us())
        self._line.call(admission)
        try:
            return Verdict._make(await admission.answer)
        except asyncio.CancelledError:
            admission.abandon()
            raise

    def settle(self, limits: Limits, lease: str, slots: Sequence[int], difference: int) -> None:
        settlement = Settlement(self._line, limits, lease, slots, difference, self._now_us())
        if settlement.count:
            self._line.post(settlement)

    def renew(self, limits: Limits, lease: str) -> None:
        keys = [_key(limit) for limit in limits if limit.metric == CONCURRENCY]
        if keys:
            arguments = packed(len(keys), *keys, lease, self._now_us())
            self._line.post(Notice(RENEW, len(keys) + 3, arguments))

    async def look(self, limits: Limits) -> Look:
        keys = [_key(limit) for limit in limits]
        arguments = packed(len(keys), *keys, *map(_slot_us, limits), self._now_us())
        question = Question(LOOK, 2 * len(keys) + 2, arguments)
        self._line.call(question)
        return Look._make(await question.answer)

    async def close(self) -> None:
        await self._line.close()


class Question(ScriptCall):
    """A command that somebody waits for."""

    __slots__ = ("answer",)

    def __init__(self, script: Script, count: int, arguments: bytes) -> None:
        super().__init__(script, count, arguments)
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def succeed(self, reply: Any) -> None:
        if not self.answer.cancelled():
            self.answer.set_result(reply)

    def fail(self) -> None:
        if not self.answer.cancelled():
            self.answer.set_exception(LimitsUnavailable())


class Admission(Question):
    """The question whether a request may go on; undone if nobody waits for a yes."""

    __slots__ = ("lease", "limits", "store", "tokens")

    def __init__(
        self, store: RedisStore, limits: Limits, lease: str, tokens: int, now_us: int
    ) -> None:
        count, head = _admit_head(limits)
        super().__init__(ADMIT, count + 3, head + packed(tokens, lease, now_us))
        self.store = store
        self.limits = limits
        self.lease = lease
        self.tokens = tokens

    def succeed(self, reply: Any) -> None:
        super().succeed(reply)
        if self.answer.cancelled():
            self._give_back(reply)

    def fail(self) -> None:
        super().fail()
        if self.sent:
            # Redis may have reserved although it did not say so. Which slot the tokens are in
            # nobody knows: they stay until the window has passed. The lease can be ended.
            self.store.settle(self.limits, self.lease, [0] * len(self.limits), 0)

    def abandon(self) -> None:
        """The caller has left. If the yes came a moment before, it is given back."""
        if not self.answer.cancelled() and self.answer.exception() is None:
            self._give_back(self.answer.result())

    def _give_back(self, reply: Any) -> None:
        verdict = Verdict._make(reply)
        if verdict.refused < 0:
            self.store.settle(self.limits, self.lease, verdict.newest, -self.tokens)


class Notice(ScriptCall):
    """A command that nobody waits for and that may get lost."""

    __slots__ = ()

    def succeed(self, reply: Any) -> None:
        pass

    def fail(self) -> None:
        pass


class Settlement(ScriptCall):
    """The end of a request. Sent again if it got lost, but never so that the caller gains."""

    __slots__ = ("difference", "lease", "limits", "line", "now_us", "slots")

    def __init__(
        self,
        line: RedisLine,
        limits: Limits,
        lease: str,
        slots: Sequence[int],
        difference: int,
        now_us: int,
    ) -> None:
        self.line = line
        self.limits = limits
        self.lease = lease
        self.slots = slots
        self.difference = difference
        self.now_us = now_us
        super().__init__(SETTLE, *self._arguments())

    def succeed(self, reply: Any) -> None:
        pass

    def fail(self) -> None:
        # It may have been carried out already: tokens given back twice would be a present.
        self.difference = max(self.difference, 0)
        self.count, self.arguments = self._arguments()
        if self.count and self.sent < MOST_SENDS:
            self.line.post(self)

    def _arguments(self) -> tuple[int, bytes]:
        """How many, and packed. None if there is nothing to tell."""
        keys: list[str] = []
        places: list[int] = []
        for limit, slot in zip(self.limits, self.slots, strict=True):
            if limit.metric == CONCURRENCY or (limit.metric == TOKENS and self.difference):
                keys.append(_key(limit))
                places += (_slot_us(limit), slot)
        if not keys:
            return 0, b""
        count = len(keys) + len(places) + 4
        return count, packed(len(keys), *keys, *places, self.difference, self.lease, self.now_us)


@lru_cache(maxsize=10_000)
def _admit_head(limits: Limits) -> tuple[int, bytes]:
    """The arguments that are the same in every request with these limits."""
    keys = [_key(limit) for limit in limits]
    rules = [part for limit in limits for part in (limit.metric, limit.amount, slot_us(limit))]
    return 1 + len(keys) + len(rules), packed(len(keys), *keys, *rules)


def _key(limit: Limit) -> str:
    return f"courier:limit:{limit.scope}:{limit.metric}:{limit.window_s}"


def _slot_us(limit: Limit) -> int:
    return 0 if limit.metric == CONCURRENCY else slot_us(limit)
