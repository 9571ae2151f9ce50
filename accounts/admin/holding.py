"""How much a key or team may use, and what of it is spent, as its page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from accounts import plans, spent
from accounts.admin.spent import bar, states_by_id
from accounts.allowances import Allowances
from accounts.budgets import BudgetState
from accounts.models import ApiKey, Budget, RateLimit, Team, User

#: Limits and budgets are not for everyone who may see a key.
NEEDED = ("accounts.view_ratelimit", "accounts.view_budget")
Bars = list[tuple[Budget, SafeString]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where limits and budgets come from."""

    name: str
    limits: list[RateLimit]
    budgets: Bars


def may_see(request: HttpRequest) -> bool:
    return bool(request.user.has_perms(NEEDED))


def of_key(key: ApiKey) -> SafeString:
    """Every limit and budget that a request of this key has to keep to."""
    states = spent.states(Allowances([key]).budgets_of(key))
    limits, budgets = plans.limits_of(key), plans.budgets_of(key)
    own = [row for row in limits if row.key_id], [row for row in budgets if row.key_id]
    planned = [row for row in limits if row.plan_id], [row for row in budgets if row.plan_id]
    sources = [
        _source("This key", *own, states),
        _source(f"Plan {key.plan}", *planned, states),
        _source(f"Team {key.team}", *_all_of(key.team), states),
    ]
    if key.owner:
        sources.append(_source(f"Owner {key.owner}", *_all_of(key.owner), states))
    return _drawn(sources)


def of_team(team: Team) -> SafeString:
    """The limits and budgets that all keys of the team share."""
    limits, budgets = _all_of(team)
    return _drawn([_source(f"Team {team}", limits, budgets, states_by_id(budgets))])


def _all_of(holder: Team | User) -> tuple[list[RateLimit], list[Budget]]:
    return list(holder.ratelimits.all()), list(holder.budgets.all())


def _source(
    name: str,
    limits: list[RateLimit],
    budgets: list[Budget],
    states: Mapping[int, BudgetState],
) -> Source:
    return Source(name, limits, [(row, bar(row, states.get(row.pk))) for row in budgets])


def _drawn(sources: list[Source]) -> SafeString:
    given = [source for source in sources if source.limits or source.budgets]
    return render_to_string("accounts/holding.html", {"sources": given})
