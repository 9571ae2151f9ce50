"""How much a key may use, as its page shows it: from the key, its plan, its team and its owner."""

from __future__ import annotations

from collections.abc import Iterator

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from accounts import plans
from accounts.models import ApiKey, Budget, RateLimit

Row = RateLimit | Budget


def drawn(key: ApiKey) -> SafeString:
    """A table of every limit and budget that a request of this key has to keep to."""
    sources = [(source, rows) for source, rows in _by_source(key) if rows]
    return render_to_string("accounts/holding.html", {"sources": sources, "plan": key.plan})


def _by_source(key: ApiKey) -> Iterator[tuple[str, list[Row]]]:
    alone: list[Row] = [*plans.limits_of(key), *plans.budgets_of(key)]
    yield "This key", [row for row in alone if row.key_id]
    yield f"Plan {key.plan}", [row for row in alone if row.plan_id]
    yield f"Team {key.team}", [*key.team.ratelimits.all(), *key.team.budgets.all()]
    if key.owner:
        yield f"{key.owner}", [*key.owner.ratelimits.all(), *key.owner.budgets.all()]
