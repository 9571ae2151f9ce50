"""What is left to a caller: of each limit, and of each budget."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from accounts import admission, budgets
from accounts.budgets import BudgetState
from accounts.errors import LimitsUnavailable
from accounts.limits import steady_us, whole_after_us
from accounts.principals import Principal
from accounts.rules import Rules


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
    #: A pattern of served models; empty where all count.
    model: str = ""


async def limit_states(principal: Principal) -> list[LimitState]:
    """What is left of each limit. Raises LimitsUnavailable."""
    limits = principal.limits
    if not limits:
        return []
    look = await admission.store().look(Rules(limits))
    return [
        LimitState(
            scope=limit.scope,
            metric=limit.metric,
            window_s=limit.window_s,
            amount=limit.amount,
            remaining=max(limit.amount - used, 0),
            reset_s=whole_after_us(limit, newest, look.now_us) / 1_000_000,
            model=limit.model,
        )
        for limit, used, newest in zip(limits, look.used, look.newest, strict=True)
    ]


async def budget_states(principal: Principal) -> list[BudgetState]:
    """What is left of each budget; unknown where the store does not answer."""
    if not principal.budgets:
        return []
    look = None
    with contextlib.suppress(LimitsUnavailable):
        look = await admission.store().look(Rules((), principal.budgets))
    return budgets.states_of(principal.budgets, look, steady_us())
