"""Which limits and budgets hold for which keys: read from the database into rules."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from django.db.models import Q

from accounts.models import ApiKey, Budget, RateLimit, Scoped
from accounts.periods import to_us
from accounts.plans import BUDGET_KIND, LIMIT_KIND, not_replaced
from accounts.rules import NO_RING, ROLLING, BudgetRule, Limit, Raise, place_of
from lib.money import NANO_PER_DOLLAR

#: Of a user's budgets, for a user may be in many teams.
USERS_TIME_ZONE = "UTC"
BATCH = 400

Row = TypeVar("Row", RateLimit, Budget)


class Allowances:
    """The limits and budgets of some keys, read in three queries however many those are."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        holds = _that_hold_for(keys)
        limits = RateLimit.objects.filter(holds).order_by("pk") if keys else ()
        budgets = (
            Budget.objects.filter(holds).order_by("pk").prefetch_related("raises") if keys else ()
        )
        self._limits = _by_scope(limits)
        self._budgets = _by_scope(budgets)

    def limits_of(self, key: ApiKey) -> tuple[Limit, ...]:
        rows = _of(key, self._limits, LIMIT_KIND)
        return tuple(
            Limit(row.pk, scope, row.metric, row.window_s, row.amount, row.model)
            for scope, row in rows
        )

    def budgets_of(self, key: ApiKey) -> tuple[BudgetRule, ...]:
        rows = _of(key, self._budgets, BUDGET_KIND)
        return tuple(budget_rule(row, scope, key.team.time_zone) for scope, row in rows)


def budget_rule(row: Budget, scope: str, time_zone: str) -> BudgetRule:
    """A budget in memory. `time_zone` is that of the team; a user's budget has its own."""
    if scope.startswith("user:"):
        time_zone = USERS_TIME_ZONE
    is_rolling = row.window == Budget.Window.ROLLING
    counts_from_us = to_us(row.counts_from) if row.counts_from else 0
    return BudgetRule(
        id=row.pk,
        scope=scope,
        place=place_of(row.pk, scope, row.period, row.window, time_zone, counts_from_us),
        amount_nano=int(row.amount * NANO_PER_DOLLAR),
        raises=tuple(
            Raise(to_us(one.starts_at), to_us(one.ends_at), int(one.amount * NANO_PER_DOLLAR))
            for one in row.raises.all()
        ),
        hard=row.hard,
        period=row.period,
        time_zone=time_zone,
        ring=ROLLING[row.period] if is_rolling else NO_RING,
        counts_from_us=counts_from_us,
    )


def every_budget() -> list[BudgetRule]:
    """All budgets that may be counted somewhere: those of plans for each key that has them."""
    rows = Budget.objects.filter(plan=None).prefetch_related("raises")
    rules = [
        budget_rule(row, scope_of(row), _time_zone_of(row))
        for row in rows.select_related("key__team", "team")
    ]
    planned = ApiKey.objects.filter(revoked_at=None, plan__budgets__isnull=False).distinct()
    keys = list(planned.select_related("team"))
    for start in range(0, len(keys), BATCH):
        some = keys[start : start + BATCH]
        allowances = Allowances(some)
        rules += [rule for key in some for rule in allowances.budgets_of(key)]
    return list({rule.place: rule for rule in rules}.values())


def _time_zone_of(row: Budget) -> str:
    team = row.key.team if row.key else row.team
    return team.time_zone if team else USERS_TIME_ZONE


def scopes_of(key: ApiKey) -> list[str]:
    scopes = [f"key:{key.pk}", f"team:{key.team_id}"]
    return [*scopes, f"user:{key.owner_id}"] if key.owner_id else scopes


def _that_hold_for(keys: Sequence[ApiKey]) -> Q:
    return (
        Q(key__in=[key.pk for key in keys])
        | Q(team__in={key.team_id for key in keys})
        | Q(user__in={key.owner_id for key in keys if key.owner_id})
        | Q(plan__in={key.plan_id for key in keys if key.plan_id})
    )


def _by_scope(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(scope_of(row), []).append(row)
    return found


def scope_of(row: Scoped) -> str:
    """Whom a row holds for: "key:7", "team:3", "user:2" or "plan:1"."""
    for kind in ("key", "team", "user"):
        if scope_id := getattr(row, f"{kind}_id"):
            return f"{kind}:{scope_id}"
    return f"plan:{row.plan_id}"


def _of(
    key: ApiKey, rows: dict[str, list[Row]], kind: Callable[[Row], Hashable]
) -> list[tuple[str, Row]]:
    """What holds for one key. Of its plan, what the key has none of its own of."""
    found = [(scope, row) for scope in scopes_of(key) for row in rows.get(scope, ())]
    own = rows.get(f"key:{key.pk}", ())
    planned = rows.get(f"plan:{key.plan_id}", ()) if key.plan_id else ()
    return found + [(f"key:{key.pk}", row) for row in not_replaced(own, planned, kind)]
