"""May this caller go on now? Reserves in all limits and budgets or in none; settles at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple
from uuid import UUID, uuid4
from weakref import WeakSet

from django.conf import settings

from accounts import budgets, wording
from accounts.degraded import Fallback
from accounts.errors import LimitsUnavailable
from accounts.limits import (
    RESERVED,
    TOKENS,
    UNKNOWN,
    Settlement,
    Store,
    Verdict,
    steady_us,
)
from accounts.local_limits import LocalStore
from accounts.principals import Principal
from accounts.redis_limits import Pulse, RedisStore
from accounts.rules import Need, Rules
from lib.errors import CourierError

RENEW_EVERY_S = 20
PULSE_EVERY_S = 1.0
#: How long a start waits for Redis, in seconds, and how often it asks.
ANSWERED_WITHIN_S = 3.0
ASK_AGAIN_AFTER_S = 0.1
DEGRADED = {"x-courier-limits": "degraded"}
#: Of a request that is none: a store tells what it would say, and holds nothing.
NO_LEASE = ""

logger = logging.getLogger(__name__)


class Mode(StrEnum):
    """Who counts at the moment."""

    #: Redis, or the only process there is.
    NORMAL = "normal"
    #: Each replica for itself, as far as it may; see `accounts.degraded`.
    DEGRADED = "degraded"


STATES = ("healthy", "degraded", "closed")
SEEN = {
    Mode.NORMAL: "Redis counts them again",
    Mode.DEGRADED: "Redis does not answer; hard budgets are closed, limits count by share",
}


class Weighed(NamedTuple):
    """What a store was asked for one request, and what it said."""

    rules: Rules
    need: Need
    verdict: Verdict


class Reservation:
    """What one admitted request holds until it is settled."""

    def __init__(
        self, counted_by: Store, rules: Rules, lease: str, need: Need, verdict: Verdict
    ) -> None:
        self._store = counted_by
        self._rules = rules
        self._lease = lease
        self._need = need
        self._verdict = verdict
        self._is_open = True

    @property
    def weighed(self) -> Weighed:
        """What it was granted for."""
        return Weighed(self._rules, self._need, self._verdict)

    @property
    def held_nano(self) -> int:
        """What it may cost at most, as held in all budgets."""
        return self._need.cost_nano

    @property
    def budget_used_percent(self) -> float:
        """Of the fullest budget, with all that is held; 0 if there is none."""
        verdict = self._verdict
        each = zip(verdict.spent, verdict.reserved, verdict.amounts, strict=False)
        used = [(spent + held) * 100 / most if most else 100.0 for spent, held, most in each]
        return max(used, default=0.0)

    @cached_property
    def headers(self) -> dict[str, str]:
        """The state of the limits in OpenAI's form, as response headers."""
        told = wording.headers(self._rules, self._verdict)
        return told | DEGRADED if mode() is Mode.DEGRADED else told

    async def extend(self, cost_nano: int) -> bool:
        """Hold so much more in all budgets. False if one has no room: then nothing changes.

        Raises LimitsUnavailable where a hard budget is in doubt.
        """
        if not self._rules.budgets or not self._is_open:
            return True
        try:
            answer = await self._extended(cost_nano)
        except LimitsUnavailable:
            if any(budget.hard for budget in self._rules.budgets):
                raise
            answer = 1
        if answer:
            self._need = self._need._replace(cost_nano=self.held_nano + cost_nano)
        return bool(answer)

    async def _extended(self, cost_nano: int) -> int:
        asked = self._rules, self._lease, self.held_nano, cost_nano
        answer = await self._store.extend(*asked)
        if answer == UNKNOWN:
            await budgets.make_known(self._rules.budgets)
            answer = await self._store.extend(*asked)
        if answer == UNKNOWN:
            raise LimitsUnavailable
        return answer

    def settle(
        self, *, input_tokens: int = 0, output_tokens: int = 0, cost_nano: int | None = 0
    ) -> None:
        """Put what was really used in place of what was held. Only the first call counts.

        A cost that is unknown counts as nothing, as it does in the ledger.
        """
        if not self._is_open:
            return
        self._is_open = False
        _open.discard(self)
        if self._lease == NO_LEASE:
            return
        used = Need(max(input_tokens, 0), max(output_tokens, 0), max(cost_nano or 0, 0))
        end = Settlement(used, self._need, self._verdict.newest, self._verdict.windows)
        self._store.settle(self._rules, self._lease, end)

    def renew(self) -> None:
        """Tell the store that the request is still running."""
        self._store.renew(self._rules, self._lease, self.held_nano)


NOTHING_COUNTED = Verdict(RESERVED, -1, 0, (), (), (), (), (), ())
_store: Store | None = None
_fallback = Fallback()
_mode = Mode.NORMAL
#: Whether this Redis is not fit to count anything.
_is_closed = False
_replica = uuid4().hex
_beside: list[asyncio.Task[None]] = []
#: Tells what this process has settled and not yet shipped, in a form of its own.
_told: Callable[[], str] = str
#: Weak: a reservation that somebody forgot is not renewed for ever.
_open: WeakSet[Reservation] = WeakSet()


def store() -> Store:
    """Where limits are counted: in Redis if there is one, else in this process."""
    global _store  # noqa: PLW0603  # made on first use, let go in stop()
    if _store is None:
        _store = RedisStore(settings.REDIS_URL) if settings.REDIS_URL else LocalStore()
    return _store


def mode() -> Mode:
    """Who counts at the moment, as far as this process knows."""
    return _mode


def state() -> str:
    """One of STATES: whether limits and budgets are counted as they should be."""
    if _is_closed or (_mode is Mode.DEGRADED and not _fallback.replicas):
        return "closed"
    return "degraded" if _mode is Mode.DEGRADED else "healthy"


def late_settlements() -> int:
    """Settlements of this process whose hold had ended before."""
    return _store.late if _store else 0


def is_redis_away() -> bool:
    """Whether Redis is not asked for a moment, because it did not answer."""
    return isinstance(_store, RedisStore) and _store.is_away


def replicas() -> int:
    """How many replicas there are, as a Redis that had heard of all has told. 0: none has yet."""
    return _fallback.all_replicas


def tell_with(told: Callable[[], str]) -> None:
    """Let every sign of life tell this too."""
    global _told  # noqa: PLW0603  # one ledger per process
    _told = told


async def announce(counted_by: RedisStore) -> Pulse:
    """Give a sign of life now."""
    pulse = await counted_by.pulse(_replica, _told())
    _see(Mode.NORMAL)
    _fallback.redis_answered(pulse.replicas, pulse.age_s)
    return pulse


async def start() -> None:
    """Renew the leases of running requests, and tell Redis that this replica is alive.

    Returns when Redis has answered, for requests with limits are refused until then; but soon.
    """
    _beside.append(asyncio.create_task(_renew_leases()))
    counted_by = store()
    if isinstance(counted_by, RedisStore):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                await _first_answer(counted_by)
        _beside.append(asyncio.create_task(_beat(counted_by)))


async def _first_answer(counted_by: RedisStore) -> None:
    while True:
        with contextlib.suppress(LimitsUnavailable):
            await announce(counted_by)
            return
        await asyncio.sleep(ASK_AGAIN_AFTER_S)


async def stop() -> None:
    """Tell the store what it was not told yet, and let go of it."""
    global _store, _mode, _fallback, _is_closed  # noqa: PLW0603
    for task in _beside:
        task.cancel()
    await asyncio.gather(*_beside, return_exceptions=True)
    _beside.clear()
    if _store is not None:
        await _store.close()
    _store, _mode, _fallback, _is_closed = None, Mode.NORMAL, Fallback(), False


async def admit(principal: Principal, request_id: UUID, model_name: str, need: Need) -> Reservation:
    """Hold what a request for this served model may use, in all that it has to keep to.

    Raises RateLimited, TokensLimited, RequestTooLargeForLimit, BudgetExhausted, BudgetHeld
    or LimitsUnavailable.
    """
    return await reserve(principal.rules_for(model_name), request_id.hex, need)


async def reserve(rules: Rules, lease: str, need: Need) -> Reservation:
    """Hold `need` in all of `rules` or in none, for whoever they are of. Raises as `admit`."""
    reservation = await _weighed(rules, lease, need)
    if rules.is_leased:
        _open.add(reservation)
    return reservation


async def preview(principal: Principal, model_name: str, need: Need) -> Reservation:
    """What `admit` would return or raise at this moment. Nothing is held, nothing to settle."""
    return await _weighed(principal.rules_for(model_name), NO_LEASE, need)


async def _weighed(rules: Rules, lease: str, need: Need) -> Reservation:
    if rules.is_empty:
        return Reservation(_fallback.store, rules, NO_LEASE, need, NOTHING_COUNTED)
    _check_size(rules, need)
    return await _reserved(rules, lease, need)


async def _reserved(rules: Rules, lease: str, need: Need) -> Reservation:
    if _is_closed:
        raise LimitsUnavailable
    counted_by = store()
    try:
        verdict = await counted_by.admit(rules, lease, need)
    except LimitsUnavailable:
        _see(Mode.DEGRADED)
        return await _reserved_alone(rules, lease, need)
    _see(Mode.NORMAL)
    if verdict.refused == UNKNOWN:
        await budgets.make_known(rules.budgets)
        verdict = await counted_by.admit(rules, lease, need)
    if verdict.refused == UNKNOWN:
        raise LimitsUnavailable
    return _granted(counted_by, rules, lease, need, verdict)


async def _reserved_alone(rules: Rules, lease: str, need: Need) -> Reservation:
    try:
        share, verdict = await _fallback.admit(rules, lease, need)
        return _granted(_fallback.store, share, lease, need, verdict)
    except CourierError as error:
        error.headers |= DEGRADED
        raise


def _granted(
    counted_by: Store, rules: Rules, lease: str, need: Need, verdict: Verdict
) -> Reservation:
    if verdict.refused != RESERVED:
        error = wording.refusal(rules, need, verdict)
        error.weighed = Weighed(rules, need, verdict)
        raise error
    return Reservation(counted_by, rules, lease, need, verdict)


def _check_size(rules: Rules, need: Need) -> None:
    for index, limit in enumerate(rules.limits):
        needed = need.of(limit.metric)
        # One request more than there may be can come later; several can never come at once.
        if needed > limit.amount and (limit.metric in TOKENS or needed > 1):
            error = wording.too_large(limit, needed)
            error.weighed = Weighed(rules, need, _uncounted(rules, index))
            raise error


def _uncounted(rules: Rules, refused: int) -> Verdict:
    """A refusal for which no store was asked: of each limit and budget, -1 is used."""
    limits, purses = len(rules.limits), len(rules.budgets)
    amounts = [budget.amount_nano for budget in rules.budgets]
    nothing = [0] * purses
    return Verdict(
        refused, 0, steady_us(), [-1] * limits, [0] * limits,
        [-1] * purses, nothing, nothing, amounts,
    )  # fmt: skip


def _see(seen: Mode) -> None:
    global _mode  # noqa: PLW0603  # one state per process
    if seen is not _mode:
        _mode = seen
        logger.warning("limits and budgets: %s", SEEN[seen])


async def _renew_leases() -> None:
    while True:
        await asyncio.sleep(RENEW_EVERY_S)
        _renew_all()


def _renew_all() -> None:
    for reservation in list(_open):
        reservation.renew()


async def _beat(counted_by: RedisStore) -> None:
    """Give a sign of life every second. A Redis that began anew learns of all that is held."""
    born_us = 0
    while True:
        try:
            pulse = await announce(counted_by)
            if pulse.born_us != born_us:
                _renew_all()
                await _check_policy(counted_by)
                born_us = pulse.born_us
        except LimitsUnavailable:
            _see(Mode.DEGRADED)
        await asyncio.sleep(PULSE_EVERY_S)


async def _check_policy(counted_by: RedisStore) -> None:
    """Close if this Redis may forget limits when its memory is full."""
    global _is_closed  # noqa: PLW0603  # one state per process
    policy = "" if settings.COURIER_REDIS_MAY_EVICT else await counted_by.evicts()
    _is_closed = bool(policy)
    if policy:
        logger.error(
            "This Redis evicts keys (maxmemory-policy %s), so it may forget limits: keys that "
            "have any are refused. Set noeviction and restart, or COURIER_REDIS_MAY_EVICT=on.",
            policy,
        )
