"""What budgets have spent, as the gateways count it, for pages: asked from any thread."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from asgiref.sync import async_to_sync
from django.conf import settings

from accounts import admission
from accounts.allowances import budget_rule, scope_of
from accounts.budgets import BudgetState, states_of
from accounts.errors import LimitsUnavailable
from accounts.limits import Look
from accounts.models import Budget, Team
from accounts.redis_limits import RedisStore, daytime_us
from accounts.rules import BudgetRule, Rules


def rule_of(budget: Budget) -> BudgetRule | None:
    """The budget in memory. None for one of a plan, which each key has for itself."""
    if budget.plan_id:
        return None
    team: Team | None = budget.key.team if budget.key else budget.team
    return budget_rule(budget, scope_of(budget), team.time_zone if team else "")


def states(rules: Sequence[BudgetRule]) -> dict[int, BudgetState]:
    """What is left of budgets, by their ids. Unknown where the store does not know, or is away.

    In a server this runs on its event loop, beside the requests that count.
    """
    if not rules:
        return {}
    look = async_to_sync(_look)(Rules((), tuple(rules)))
    return {state.budget_id: state for state in states_of(rules, look, daytime_us())}


async def _look(rules: Rules) -> Look | None:
    if not settings.REDIS_URL:
        return await admission.store().look(rules)
    # Connections belong to one event loop, and pages may be made on any.
    store = RedisStore(settings.REDIS_URL)
    try:
        with contextlib.suppress(LimitsUnavailable):
            return await store.look(rules)
        return None
    finally:
        await store.close()
