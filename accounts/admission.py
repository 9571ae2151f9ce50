"""May this caller go on now? Reserves in all of its limits or in none; settles at the end."""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID
from weakref import WeakSet

from django.conf import settings

from accounts.errors import RateLimited, RequestTooLargeForLimit, TokensLimited
from accounts.limits import (
    CONCURRENCY,
    REQUESTS,
    TOKENS,
    Limits,
    LocalStore,
    Store,
    Verdict,
    whole_after_us,
)
from accounts.models import RateLimit
from accounts.principals import Limit, Principal
from accounts.redis_limits import RedisStore

RENEW_EVERY_S = 20
WINDOWS = {int(window): str(label) for window, label in RateLimit.Window.choices}
SCOPES = {"key": "this key", "team": "this key's team", "user": "this key's owner"}


@dataclass(frozen=True, slots=True)
class LimitState:
    """One limit of a caller and what is left of it."""

    scope: str
    metric: str
    window_s: int
    amount: int
    remaining: int
    #: Seconds until all of it is left again.
    reset_s: float


class Reservation:
    """What one admitted request holds until it is settled."""

    def __init__(self, limits: Limits, lease: str, tokens: int, verdict: Verdict) -> None:
        self._limits = limits
        self._lease = lease
        self._tokens = tokens
        self._verdict = verdict
        self._is_open = True

    @cached_property
    def headers(self) -> dict[str, str]:
        """The state of the limits in OpenAI's form, as response headers."""
        return _headers(self._limits, self._verdict)

    def settle(self, tokens: int) -> None:
        """Put the real number of tokens in place of the estimate. Only the first call counts."""
        if not self._is_open:
            return
        self._is_open = False
        _open.discard(self)
        if self._limits:
            difference = max(tokens, 0) - self._tokens
            store().settle(self._limits, self._lease, self._verdict.newest, difference)

    def renew(self) -> None:
        """Tell the store that the request is still running."""
        store().renew(self._limits, self._lease)


NO_LIMITS = Verdict(-1, -1, 0, (), ())
_store: Store | None = None
_renewing: asyncio.Task[None] | None = None
#: Weak: a reservation that somebody forgot is not renewed for ever.
_open: WeakSet[Reservation] = WeakSet()


def store() -> Store:
    """Where limits are counted: in Redis if there is one, else in this process."""
    global _store  # noqa: PLW0603  # made on first use, let go in stop()
    if _store is None:
        _store = RedisStore(settings.REDIS_URL) if settings.REDIS_URL else LocalStore()
    return _store


async def start() -> None:
    """Begin to renew the leases of open reservations. The store connects when first asked."""
    global _renewing  # noqa: PLW0603  # ended in stop()
    _renewing = asyncio.create_task(_renew_leases())


async def stop() -> None:
    """Tell the store what it was not told yet, and let go of it."""
    global _store, _renewing  # noqa: PLW0603
    if _renewing is not None:
        _renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await _renewing
    if _store is not None:
        await _store.close()
    _store = _renewing = None


async def admit(principal: Principal, request_id: UUID, *, tokens: int) -> Reservation:
    """Hold one request and `tokens` in all limits. Raises RateLimited or LimitsUnavailable."""
    limits = principal.limits
    lease = request_id.hex
    if not limits:
        return Reservation(limits, lease, tokens, NO_LIMITS)
    _check_size(limits, tokens)
    verdict = await store().admit(limits, lease, tokens)
    if verdict.refused >= 0:
        raise _refusal(limits, verdict)
    reservation = Reservation(limits, lease, tokens, verdict)
    if any(limit.metric == CONCURRENCY for limit in limits):
        _open.add(reservation)
    return reservation


async def limit_states(principal: Principal) -> list[LimitState]:
    """What is left of each limit. Raises LimitsUnavailable."""
    limits = principal.limits
    if not limits:
        return []
    look = await store().look(limits)
    return [
        LimitState(
            scope=limit.scope,
            metric=limit.metric,
            window_s=limit.window_s,
            amount=limit.amount,
            remaining=max(limit.amount - used, 0),
            reset_s=whole_after_us(limit, newest, look.now_us) / 1_000_000,
        )
        for limit, used, newest in zip(limits, look.used, look.newest, strict=True)
    ]


async def _renew_leases() -> None:
    while True:
        await asyncio.sleep(RENEW_EVERY_S)
        for reservation in list(_open):
            reservation.renew()


def _check_size(limits: Limits, tokens: int) -> None:
    for limit in limits:
        if limit.metric == TOKENS and tokens > limit.amount:
            raise RequestTooLargeForLimit(
                f"This request needs about {tokens} tokens, more than the limit for "
                f"{_holder(limit)}: {_rule(limit)}. Make the prompt or max_tokens smaller."
            )


def _refusal(limits: Limits, verdict: Verdict) -> RateLimited:
    limit = limits[verdict.refused]
    kind = TokensLimited if limit.metric == TOKENS else RateLimited
    wait_s = verdict.wait_us / 1_000_000
    error = kind(
        f"Rate limit reached for {_holder(limit)}: {_rule(limit)}. "
        f"Try again in {math.ceil(wait_s)} s.",
        retry_after=wait_s,
    )
    error.headers = _headers(limits, verdict)
    name = f"x-ratelimit-remaining-{kind.type}"
    if name in error.headers:
        error.headers[name] = "0"
    return error


def _headers(limits: Limits, verdict: Verdict) -> dict[str, str]:
    headers: dict[str, str] = {}
    tightest = _tightest(limits, verdict)
    for metric, (remaining, index) in tightest.items():
        limit = limits[index]
        reset_us = whole_after_us(limit, verdict.newest[index], verdict.now_us)
        headers[f"x-ratelimit-limit-{metric}"] = str(limit.amount)
        headers[f"x-ratelimit-remaining-{metric}"] = str(max(remaining, 0))
        headers[f"x-ratelimit-reset-{metric}"] = go_duration(reset_us)
    return headers


def _tightest(limits: Limits, verdict: Verdict) -> dict[str, tuple[int, int]]:
    """Of each metric, the limit with the least left: how much, and its index."""
    tightest: dict[str, tuple[int, int]] = {}
    for index, limit in enumerate(limits):
        if limit.metric == CONCURRENCY:
            continue
        left = (limit.amount - verdict.used[index], index)
        if limit.metric not in tightest or left < tightest[limit.metric]:
            tightest[limit.metric] = left
    return tightest


def go_duration(microseconds: int) -> str:
    """As Go writes and parses durations: `12ms`, `1s`, `6m0s`. Rounded up."""
    milliseconds = -(-microseconds // 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, seconds = divmod(-(-milliseconds // 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _holder(limit: Limit) -> str:
    return SCOPES[limit.scope.partition(":")[0]]


def _rule(limit: Limit) -> str:
    """The limit in words: "60 requests per minute"."""
    noun = TOKENS if limit.metric == TOKENS else REQUESTS
    noun = noun.removesuffix("s") if limit.amount == 1 else noun
    if limit.metric == CONCURRENCY:
        return f"{limit.amount} {noun} at the same time"
    window = WINDOWS.get(limit.window_s, f"per {limit.window_s} s")
    return f"{limit.amount} {noun} {window}"
