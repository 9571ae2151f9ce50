"""The store of limits and budgets that all processes share: scripts in Redis, one call each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from accounts.errors import LimitsUnavailable
from accounts.limits import (
    CONCURRENCY,
    REQUESTS,
    RESERVED,
    TOKENS,
    Claims,
    Figures,
    Look,
    Mend,
    Settlement,
    Verdict,
    slot_us,
)
from accounts.redis_commands import Script, ScriptCall, packed
from accounts.redis_line import RedisLine
from accounts.rules import BudgetRule, Limit, Need, Rules

LIMITS, BUDGETS = "windows.lua", "budgets.lua"
ADMIT = Script(LIMITS, BUDGETS, "admit.lua")
SETTLE = Script(LIMITS, BUDGETS, "settle.lua")
EXTEND = Script(LIMITS, BUDGETS, "extend.lua")
LOOK = Script(LIMITS, BUDGETS, "look.lua")
RENEW = Script(LIMITS, BUDGETS, "renew.lua")
CLAIM = Script(LIMITS, BUDGETS, "claim.lua")
BUILD = Script(LIMITS, BUDGETS, "build.lua")
MEND = Script(LIMITS, BUDGETS, "mend.lua")
PULSE = Script(LIMITS, "pulse.lua")
ROLL_CALL = Script(LIMITS, "roll_call.lua")
LOCK = Script("lock.lua")
EVICTS = Script("evicts.lua")
SCRIPTS = (ADMIT, SETTLE, EXTEND, LOOK, RENEW, CLAIM, BUILD, MEND, PULSE, ROLL_CALL, LOCK, EVICTS)

REPLICAS, REPLICA, BORN = "courier:replicas", "courier:replica:", "courier:born"
KEEPER = "courier:budgets:keeper"
#: A settlement that Redis refuses again and again is not worth more.
MOST_SENDS = 3
#: Budgets that one call builds or corrects at most, so that it holds nobody up.
AT_A_TIME = 200
MICROSECONDS = 1_000_000

Clock = Callable[[], int]


def redis_clock() -> int:
    """0 asks the scripts for Redis's own time, the only one that all processes share."""
    return 0


def daytime_us() -> int:
    """What this machine believes the time to be: good enough to know the days around now."""
    return time.time_ns() // 1000


class Pulse(NamedTuple):
    """What Redis answers to a sign of life. Times are its own, in microseconds."""

    now_us: int
    #: When this Redis, empty, first heard of any replica.
    born_us: int
    replicas: int

    @property
    def age_s(self) -> float:
        """For how long this Redis knows of replicas."""
        return (self.now_us - self.born_us) / MICROSECONDS


class RollCall(NamedTuple):
    """What all replicas that are alive told last, and when."""

    now_us: int
    born_us: int
    told: Sequence[tuple[int, bytes]]

    @property
    def age_s(self) -> float:
        """For how long this Redis knows of replicas."""
        return (self.now_us - self.born_us) / MICROSECONDS


class RedisStore:
    """Limits and budgets over all processes, checked and reserved in one step inside Redis."""

    def __init__(
        self, url: str, now_us: Clock = redis_clock, own_clock: Clock | None = None
    ) -> None:
        self._line = RedisLine(url, SCRIPTS)
        self._now_us = now_us
        #: Only to know which days to tell Redis of, which then decides by its own clock.
        self._own_clock = own_clock or (daytime_us if now_us is redis_clock else now_us)
        #: Settlements whose hold had ended before.
        self.late = 0

    @property
    def is_away(self) -> bool:
        """Whether Redis is not asked for a moment, because it did not answer."""
        return self._line.is_away

    async def admit(self, rules: Rules, lease: str, need: Need) -> Verdict:
        admission = Admission(self, rules, self.packed(rules), lease, need, self._now_us())
        self._line.call(admission)
        try:
            return Verdict._make(await admission.answer)
        except asyncio.CancelledError:
            admission.abandon()
            raise

    async def extend(self, rules: Rules, lease: str, held: int, more: int) -> int:
        head = self.packed(rules)
        arguments = head.budgets + packed(held, more, lease, self._now_us())
        question = Question(EXTEND, head.budgets_count + 4, arguments)
        self._line.call(question)
        return int(await question.answer)

    def settle(self, rules: Rules, lease: str, end: Settlement) -> None:
        self._end(rules, lease, end, end.used.cost_nano)

    def give_back(self, rules: Rules, lease: str, end: Settlement) -> None:
        """Undo an admission that nobody waited for."""
        self._end(rules, lease, end, 0)

    def renew(self, rules: Rules, lease: str, held: int) -> None:
        keys = [_key(limit) for limit in rules.limits if limit.metric == CONCURRENCY]
        keys += [_budget_key(budget) for budget in rules.budgets]
        limits = len(keys) - len(rules.budgets)
        if keys:
            arguments = packed(len(keys), *keys, limits, held, lease, self._now_us())
            self._line.post(Notice(RENEW, len(keys) + 5, arguments))

    async def look(self, rules: Rules) -> Look:
        bounds = rules.bounds(self._own_clock())
        keys = [*map(_key, rules.limits), *map(_budget_key, rules.budgets)]
        parts: list[str | int] = [len(rules.limits), *map(_slot_us, rules.limits)]
        for budget, its in zip(rules.budgets, bounds, strict=True):
            parts += _parts(budget, its)
        return Look._make(await self._ask(LOOK, keys, *parts, self._now_us()))

    async def claim(self, budgets: Sequence[BudgetRule], token: str) -> Claims:
        now_us, claims = 0, []
        for some in _batches(budgets):
            keys = [_budget_key(budget) for budget in some]
            now_us, states = await self._ask(CLAIM, keys, token, self._now_us())
            claims += states
        return Claims(now_us, claims)

    async def build(self, figures: Sequence[Figures], token: str) -> list[bool]:
        built: list[int] = []
        for some in _batches(figures):
            keys = [_budget_key(one.budget) for one in some]
            parts: list[str | int] = [token]
            for one in some:
                parts += (one.window, int(one.budget.ring.slot_us > 0), len(one.spent))
                parts += [part for figure in one.spent.items() for part in figure]
            built += await self._ask(BUILD, keys, *parts)
        return [bool(one) for one in built]

    async def lock(self, token: str, seconds: float) -> bool:
        held = await self._ask(LOCK, [KEEPER], token, round(seconds * 1000))
        return bool(held)

    async def mend(self, mends: Sequence[Mend], token: str) -> list[int]:
        moved: list[int] = []
        for some in _batches(mends):
            keys = [KEEPER, *(_budget_key(one.budget) for one in some)]
            parts: list[str | int] = [token]
            for one in some:
                how = ("lower", one.cut) if one.cut else ("raise", one.floor)
                rolling = int(one.budget.ring.slot_us > 0)
                parts += (rolling, one.window, *how, one.expected)
            moved += await self._ask(MEND, keys, *parts)
        return moved

    async def evicts(self) -> str:
        """The policy by which this Redis throws keys away, or nothing."""
        policy: bytes = await self._ask(EVICTS, [])
        return policy.decode()

    async def pulse(self, replica: str, told: str) -> Pulse:
        """Tell that this replica is alive, and what it has settled but not shipped."""
        keys = [REPLICAS, REPLICA + replica, BORN]
        return Pulse._make(await self._ask(PULSE, keys, replica, told, self._now_us()))

    async def roll_call(self) -> RollCall:
        """Who is alive, and what each has told last."""
        answer = await self._ask(ROLL_CALL, [REPLICAS, BORN], REPLICA, self._now_us())
        now_us, born_us, told = answer
        halves = (one.partition(b" ") for one in told if one)
        return RollCall(now_us, born_us, [(int(at), payload) for at, _, payload in halves])

    async def close(self) -> None:
        await self._line.close()

    def packed(self, rules: Rules) -> Packed:
        """The arguments that are the same in every request with these rules."""
        bounds = rules.bounds(self._own_clock())
        if rules.packed is None:
            rules.packed = Packed(rules, bounds)
        return rules.packed  # type: ignore[no-any-return]  # only made here

    def _end(self, rules: Rules, lease: str, end: Settlement, cost_nano: int) -> None:
        command = SettleCall(self, rules, lease, end, cost_nano)
        if command.count:
            self._line.post(command)

    async def _ask(self, script: Script, keys: Sequence[str], *parts: str | int) -> Any:
        arguments = packed(len(keys), *keys, *parts)
        question = Question(script, 1 + len(keys) + len(parts), arguments)
        self._line.call(question)
        return await question.answer


class Packed:
    """Rules as scripts read them."""

    __slots__ = ("budgets", "budgets_count", "count", "ends", "ends_count", "head")

    def __init__(self, rules: Rules, bounds: Sequence[Any]) -> None:
        keys = [*map(_key, rules.limits), *map(_budget_key, rules.budgets)]
        parts: list[str | int] = [len(rules.limits)]
        for limit in rules.limits:
            parts += (limit.metric, limit.amount, slot_us(limit))
        budgets: list[str | int] = []
        for budget, its in zip(rules.budgets, bounds, strict=True):
            budgets += _parts(budget, its)
        self.head = packed(len(keys), *keys, *parts, *budgets)
        self.count = 1 + len(keys) + len(parts) + len(budgets)
        own = [_budget_key(budget) for budget in rules.budgets]
        self.budgets = packed(len(own), *own, *budgets)
        self.budgets_count = 1 + len(own) + len(budgets)
        ending = [limit for limit in rules.limits if limit.metric != REQUESTS]
        lengths: list[str | int] = [len(ending), *map(_slot_us, ending)]
        for budget in rules.budgets:
            lengths += (budget.ring.slot_us, budget.ring.kept)
        ends = [*map(_key, ending), *own]
        self.ends = packed(len(ends), *ends, *lengths)
        self.ends_count = 1 + len(ends) + len(lengths)


class Question(ScriptCall):
    """A command that somebody waits for."""

    __slots__ = ("answer",)

    def __init__(self, script: Script, count: int, arguments: bytes) -> None:
        super().__init__(script, count, arguments)
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def succeed(self, reply: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(reply)

    def fail(self) -> None:
        self.overdue()

    def overdue(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(LimitsUnavailable())


class Admission(Question):
    """The question whether a request may go on; undone if nobody waits for a yes."""

    __slots__ = ("lease", "need", "rules", "store")

    def __init__(
        self, store: RedisStore, rules: Rules, head: Packed, lease: str, need: Need, now_us: int
    ) -> None:
        super().__init__(ADMIT, head.count + 6, head.head + packed(*need, lease, now_us))
        self.store = store
        self.rules = rules
        self.lease = lease
        self.need = need

    def succeed(self, reply: Any) -> None:
        is_heard = not self.answer.done()
        super().succeed(reply)
        if not is_heard:
            self._give_back(reply)

    def fail(self) -> None:
        super().fail()
        if self.sent:
            # Redis may have reserved although it did not say so. Which slot the tokens are in
            # nobody knows: they stay until the window has passed. The leases can be ended.
            nowhere = [0] * len(self.rules.limits), [0] * len(self.rules.budgets)
            end = Settlement(self.need, self.need, *nowhere)
            self.store.give_back(self.rules, self.lease, end)

    def abandon(self) -> None:
        """The caller has left. If the yes came a moment before, it is given back."""
        if not self.answer.cancelled() and self.answer.exception() is None:
            self._give_back(self.answer.result())

    def _give_back(self, reply: Any) -> None:
        verdict = Verdict._make(reply)
        if verdict.refused == RESERVED:
            end = Settlement(Need(0, 0, 0), self.need, verdict.newest, verdict.windows)
            self.store.give_back(self.rules, self.lease, end)


class Notice(ScriptCall):
    """A command that nobody waits for and that may get lost."""

    __slots__ = ()

    def succeed(self, reply: Any) -> None:
        pass

    def fail(self) -> None:
        pass


class SettleCall(ScriptCall):
    """The end of a request. Sent again if it got lost, but never so that the caller gains."""

    __slots__ = ("_cost_nano", "_end", "_is_again", "_lease", "_rules", "_store")

    def __init__(
        self, store: RedisStore, rules: Rules, lease: str, end: Settlement, cost_nano: int
    ) -> None:
        self._store = store
        self._rules = rules
        self._lease = lease
        self._end = end
        self._cost_nano = cost_nano
        self._is_again = 0
        super().__init__(SETTLE, *self._arguments())

    def succeed(self, reply: Any) -> None:
        self._store.late += reply

    def fail(self) -> None:
        # It may have been carried out already: tokens given back twice would be a present, and
        # money counted twice would be theft.
        self._is_again = int(self.sent > 0 or self._is_again)
        self.count, self.arguments = self._arguments()
        if self.count and self.sent < MOST_SENDS:
            self._store._line.post(self)  # noqa: SLF001  # one of its own commands

    def _arguments(self) -> tuple[int, bytes]:
        """How many, and packed. None if there is nothing to tell."""
        if not self._rules.is_leased and not any(map(self._difference, self._rules.limits)):
            return 0, b""
        head = self._store.packed(self._rules)
        parts: list[str | int] = []
        for limit, slot in zip(self._rules.limits, self._end.slots, strict=True):
            if limit.metric != REQUESTS:
                parts += (self._difference(limit), slot)
        parts += self._end.windows
        parts += (self._cost_nano, self._is_again, self._lease, self._store._now_us())  # noqa: SLF001
        return head.ends_count + len(parts), head.ends + packed(*parts)

    def _difference(self, limit: Limit) -> int:
        if limit.metric not in TOKENS:
            return 0
        end = self._end
        difference = end.used.of(limit.metric) - end.reserved.of(limit.metric)
        return max(difference, 0) if self._is_again else difference


def _parts(budget: BudgetRule, bounds: Sequence[int]) -> list[str | int]:
    """One budget as scripts read it; see budgets.lua."""
    ring = budget.ring
    head = (ring.slot_us, ring.kept, *bounds, int(budget.hard), budget.amount_nano)
    raises = [part for one in budget.raises for part in one]
    return [*head, len(budget.raises), *raises]


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[at : at + AT_A_TIME] for at in range(0, len(items), AT_A_TIME))


def _key(limit: Limit) -> str:
    key = f"courier:limit:{limit.scope}:{limit.metric}:{limit.window_s}"
    return f"{key}:{limit.model}" if limit.model else key


def _budget_key(budget: BudgetRule) -> str:
    return f"courier:budget:{budget.place}"


def _slot_us(limit: Limit) -> int:
    return 0 if limit.metric == CONCURRENCY else slot_us(limit)
