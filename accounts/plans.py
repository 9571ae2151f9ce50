"""What holds for a key that has a plan: its own, and what of the plan it has none like of."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from operator import attrgetter
from typing import TypeVar

from accounts.models import ApiKey, Budget, RateLimit

Row = TypeVar("Row", bound=RateLimit | Budget)

#: Two limits, or two budgets, that agree in these are the same promise: the key's own counts.
LIMIT_KIND = attrgetter("metric", "window_s", "model")
BUDGET_KIND = attrgetter("period", "window")


def limits_of(key: ApiKey) -> list[RateLimit]:
    """The limits of the key alone, its plan's included."""
    own = list(key.ratelimits.all())
    return own + (not_replaced(own, key.plan.ratelimits.all(), LIMIT_KIND) if key.plan else [])


def budgets_of(key: ApiKey) -> list[Budget]:
    """The budgets of the key alone, its plan's included."""
    own = list(key.budgets.all())
    return own + (not_replaced(own, key.plan.budgets.all(), BUDGET_KIND) if key.plan else [])


def not_replaced(
    own: Iterable[Row], of_plan: Iterable[Row], kind: Callable[[Row], Hashable]
) -> list[Row]:
    """What of the plan is not replaced."""
    taken = {kind(row) for row in own}
    return [row for row in of_plan if kind(row) not in taken]
