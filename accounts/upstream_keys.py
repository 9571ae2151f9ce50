"""The limits and the budget of an upstream key as rules, counted as those of callers are."""

from __future__ import annotations

from functools import lru_cache

from accounts.limits import CONCURRENCY, REQUESTS
from accounts.models import RateLimit
from accounts.rules import NO_RING, BudgetRule, Limit, Rules, place_of
from registry.key_terms import KeyTerms, terms_of
from registry.models import UpstreamKey

SCOPE = "upstream"
MINUTE_S = 60
TIME_ZONE = "UTC"


@lru_cache(maxsize=4096)
def rules_of(key_id: int, terms: KeyTerms) -> Rules:
    """What attempts with this key have to keep to: the same object as long as it is the same."""
    amounts = {
        REQUESTS: terms.requests_per_minute,
        RateLimit.Metric.TOKENS.value: terms.tokens_per_minute,
        CONCURRENCY: terms.concurrency,
    }
    limits = tuple(
        Limit(key_id, f"{SCOPE}:{key_id}", metric, MINUTE_S, amount)
        for metric, amount in amounts.items()
        if amount
    )
    budget = budget_of(key_id, terms)
    return Rules(limits, (budget,) if budget else ())


def budget_of(key_id: int, terms: KeyTerms) -> BudgetRule | None:
    """The key's budget: hard, for what its provider charges, failed attempts included."""
    if terms.budget_nano is None:
        return None
    scope = f"{SCOPE}:{key_id}"
    return BudgetRule(
        id=key_id,
        scope=scope,
        place=place_of(key_id, scope, terms.budget_period),
        amount_nano=terms.budget_nano,
        raises=(),
        hard=True,
        period=terms.budget_period,
        time_zone=TIME_ZONE,
        ring=NO_RING,
        counts_from_us=0,
    )


def every_budget() -> list[BudgetRule]:
    """The budgets of all upstream keys."""
    rows = UpstreamKey.objects.exclude(budget=None)
    budgets = (budget_of(row.pk, terms_of(row)) for row in rows)
    return [budget for budget in budgets if budget]
