"""Budgets beside admission: who rebuilds those that are unknown, and what is left of each.

What a store holds of budgets is a cache of the ledger. The ledger is in `usage`, which
registers itself here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from accounts.errors import LimitsUnavailable
from accounts.limits import Look
from accounts.periods import FOREVER_US, from_us
from accounts.rules import BudgetRule

#: How long a request waits for a budget to be rebuilt.
REBUILD_WITHIN_S = 2.0

Rebuild = Callable[[Sequence[BudgetRule]], Awaitable[None]]


@dataclass(slots=True)
class Counters:
    """What this process has seen, since it began."""

    rebuilds: int = 0
    raised: int = 0
    lowered: int = 0
    #: How often the store and the ledger differed by more than a hundredth.
    drifts: int = 0
    last_drift_nano: int = 0


@dataclass(frozen=True, slots=True)
class BudgetState:
    """One budget of a caller and what is left of it. None is unknown, which is not zero."""

    budget_id: int
    scope: str
    period: str
    is_rolling: bool
    hard: bool
    amount_nano: int
    spent_nano: int | None
    reserved_nano: int | None
    remaining_nano: int | None
    #: When its window ends. None: never, or, of a rolling one, at no single moment.
    resets_at: datetime | None


counters = Counters()
_rebuild: Rebuild | None = None


def rebuild_with(rebuild: Rebuild | None) -> None:
    """Let `rebuild` make budgets known that a store does not know."""
    global _rebuild  # noqa: PLW0603  # one ledger per process
    _rebuild = rebuild


def can_be_made_known() -> bool:
    """Whether somebody in this process rebuilds what is unknown."""
    return _rebuild is not None


async def make_known(budgets: Sequence[BudgetRule]) -> None:
    """Wait until unknown budgets are rebuilt. Raises LimitsUnavailable if that takes long."""
    if _rebuild is None:
        raise LimitsUnavailable
    try:
        async with asyncio.timeout(REBUILD_WITHIN_S):
            await _rebuild(budgets)
    except TimeoutError:
        raise LimitsUnavailable from None


def states_of(budgets: Sequence[BudgetRule], look: Look | None, now_us: int) -> list[BudgetState]:
    """What a look says of budgets; without one all are unknown."""
    if look is None:
        return [_state(budget, -1, 0, now_us) for budget in budgets]
    return [
        _state(budget, spent, reserved, look.now_us)
        for budget, spent, reserved in zip(budgets, look.spent, look.reserved, strict=True)
    ]


def _state(budget: BudgetRule, spent: int, reserved: int, now_us: int) -> BudgetState:
    amount = budget.amount_at(now_us)
    is_known = spent >= 0
    return BudgetState(
        budget_id=budget.id,
        scope=budget.scope,
        period=budget.period,
        is_rolling=budget.ring.slot_us > 0,
        hard=budget.hard,
        amount_nano=amount,
        spent_nano=spent if is_known else None,
        reserved_nano=reserved if is_known else None,
        remaining_nano=max(amount - spent - reserved, 0) if is_known else None,
        resets_at=resets_at(budget, now_us),
    )


def resets_at(budget: BudgetRule, now_us: int) -> datetime | None:
    end = budget.bounds_at(now_us).window(now_us)[1]
    return from_us(end) if 0 < end < FOREVER_US else None
