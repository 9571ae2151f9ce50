"""What one replica lets through by itself while Redis is away: a share of each limit.

Declared, bounded, never open: a replica that never saw Redis lets nothing through, a hard
budget lets nothing through that costs, a soft one a hundredth of its amount.
"""

from __future__ import annotations

import time
from dataclasses import replace

from accounts.errors import LimitsUnavailable
from accounts.limits import UNKNOWN, Figures, Verdict
from accounts.local_limits import LocalStore
from accounts.rules import BudgetRule, Limit, Need, Rules

#: Of a soft budget, each replica may spend one part in so many.
ALLOWANCE = 100
REFRESH_EVERY_S = 10.0
#: A Redis that is so old has heard of all replicas, and has forgotten those that are gone; see
#: pulse.lua.
HEARD_ALL_S = 10.0
OWN = "own"


class Fallback:
    """The limits of one replica alone."""

    def __init__(self) -> None:
        self.store = LocalStore()
        #: As Redis last counted them. 0: it never did.
        self.replicas = 0
        #: The same, of a Redis that had heard of all.
        self.all_replicas = 0
        self._refresh_at = 0.0

    def redis_answered(self, replicas: int, age_s: float) -> None:
        """Redis is there, and so many replicas are alive: allowances are whole again.

        `age_s` is for how long it knows of replicas at all.
        """
        self.replicas = replicas
        if age_s >= HEARD_ALL_S:
            self.all_replicas = replicas
        if time.monotonic() >= self._refresh_at:
            self._refresh_at = time.monotonic() + REFRESH_EVERY_S
            self.store.forget_budgets()

    async def admit(self, rules: Rules, lease: str, need: Need) -> tuple[Rules, Verdict]:
        """The rules that hold for this replica alone, and what they say. Or LimitsUnavailable."""
        if not self.replicas or (need.cost_nano and any(one.hard for one in rules.budgets)):
            raise LimitsUnavailable
        share = self._share(rules)
        verdict = await self.store.admit(share, lease, need)
        if verdict.refused == UNKNOWN:
            await self._begin(share)
            verdict = await self.store.admit(share, lease, need)
        if verdict.refused >= len(share.limits):
            raise LimitsUnavailable
        return share, verdict

    def _share(self, rules: Rules) -> Rules:
        if rules.share is None or rules.share[0] != self.replicas:
            limits = tuple(self._shared_limit(limit) for limit in rules.limits)
            budgets = tuple(self._allowance(budget) for budget in rules.budgets)
            rules.share = self.replicas, Rules(limits, budgets)
        return rules.share[1]

    def _shared_limit(self, limit: Limit) -> Limit:
        return replace(limit, amount=-(-limit.amount // self.replicas))

    @staticmethod
    def _allowance(budget: BudgetRule) -> BudgetRule:
        return replace(budget, amount_nano=budget.amount_nano // ALLOWANCE, raises=(), hard=True)

    async def _begin(self, share: Rules) -> None:
        """Here nothing was spent yet: what was is Redis's to know."""
        claims = await self.store.claim(share.budgets, OWN)
        unknown = [
            Figures(budget, budget.window_at(claims.now_us), {})
            for budget, claim in zip(share.budgets, claims.claims, strict=True)
            if claim
        ]
        await self.store.build(unknown, OWN)
