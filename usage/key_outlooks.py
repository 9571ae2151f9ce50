"""What upstream keys have spent of their budgets, and when they will have spent all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from accounts.budgets import resets_at
from accounts.periods import to_us
from accounts.rules import BudgetRule
from accounts.upstream_keys import budget_of
from registry.key_figures import Figures
from registry.key_terms import terms_of
from registry.models import UpstreamKey
from usage.spending import spent_nano

#: The pace is that of so long.
LATELY = timedelta(days=3)
#: What runs out later than this is not foreseen.
FAR = timedelta(days=400)


def of(keys: Sequence[UpstreamKey]) -> dict[int, Figures]:
    """Of each that has a budget."""
    now = timezone.now()
    budgets = ((key.pk, budget_of(key.pk, terms_of(key))) for key in keys)
    return {pk: _figures(budget, now) for pk, budget in budgets if budget}


def _figures(budget: BudgetRule, now: datetime) -> Figures:
    now_us = to_us(now)
    start, end = budget.span_of(budget.window_at(now_us))
    spent = spent_nano(budget.scope, start, end)
    ends_at = resets_at(budget, now_us)
    return Figures(spent, ends_at, _runs_out_at(budget, spent, ends_at, now))


def _runs_out_at(
    budget: BudgetRule, spent: int, ends_at: datetime | None, now: datetime
) -> datetime | None:
    left = budget.amount_nano - spent
    lately = spent_nano(budget.scope, now - LATELY, now)
    if left <= 0 or lately <= 0:
        return None
    wait = LATELY * (left / lately) if left / lately < FAR / LATELY else FAR
    at = now + wait
    return at if wait < FAR and (ends_at is None or at < ends_at) else None
