"""What Redis holds of budgets beside what the ledger says, for people."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from asgiref.sync import sync_to_async
from django.conf import settings

from accounts.allowances import every_budget
from accounts.limits import Figures
from accounts.redis_limits import RedisStore
from accounts.rules import BudgetRule, Rules
from usage import budget_keeper
from usage.money import dollars

AT_A_TIME = 200
SETTLED_WITHIN_S = 2.0


class BudgetFigures(NamedTuple):
    """One budget, in nano-dollars of the window that runs now."""

    budget: BudgetRule
    ledger: int
    #: What was settled and has not reached the ledger yet.
    on_its_way: int
    #: None: Redis does not know it, and its next request will have it built.
    held: int | None

    @property
    def difference(self) -> int:
        """By how much Redis holds less than the ledger, or more than all there is."""
        if self.held is None:
            return 0
        most = self.ledger + self.on_its_way
        return min(self.held - self.ledger, 0) or max(self.held - most, 0)

    def __str__(self) -> str:
        held = "does not hold it" if self.held is None else f"holds {dollars(self.held)}"
        return (
            f"budget {self.budget.id} of {self.budget.scope} ({self.budget.period}): the ledger "
            f"says {dollars(self.ledger)}, Redis {held}, difference {dollars(self.difference)}"
        )


def figures() -> list[BudgetFigures]:
    """Of all budgets. Empty without Redis: then every process counts for itself.

    Raises LimitsUnavailable if Redis does not answer.
    """
    if not settings.REDIS_URL:
        return []
    told = asyncio.run(_told(every_budget()))
    if any(one.difference for one in told):
        # What was settled just now may not have reached both.
        time.sleep(SETTLED_WITHIN_S)
        told = asyncio.run(_told([one.budget for one in told]))
    return told


async def _told(budgets: Sequence[BudgetRule]) -> list[BudgetFigures]:
    store = RedisStore(settings.REDIS_URL)
    try:
        looks = [await store.look(Rules((), tuple(some))) for some in _batches(budgets)]
        call = await store.roll_call()
    finally:
        await store.close()
    pending = budget_keeper.pending_in(content for _, content in call.told)
    ledger = await sync_to_async(budget_keeper.ledger_figures)(budgets, call.now_us)
    held = [spent for look in looks for spent in look.spent]
    return [
        BudgetFigures(
            budget=told.budget,
            ledger=_sum(told),
            on_its_way=_sum(budget_keeper.with_pending(told, pending)) - _sum(told),
            held=spent if spent >= 0 else None,
        )
        for told, spent in zip(ledger, held, strict=True)
    ]


def _sum(told: Figures) -> int:
    return sum(told.spent.values())


def _batches(budgets: Sequence[BudgetRule]) -> Iterator[Sequence[BudgetRule]]:
    return (budgets[at : at + AT_A_TIME] for at in range(0, len(budgets), AT_A_TIME))
