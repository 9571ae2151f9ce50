"""The present configuration as a manifest, its secrets as references."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, time
from decimal import Decimal
from typing import Any

import yaml
from django.db.models import F

from accounts.models import ApiKey, Budget, Plan, RateLimit, Team, usual_thresholds
from courier_site.manifest.document import REFERENCE
from courier_site.manifest.vocabulary import FALLBACKS, KEY_LIMITS, LIMITS, TIMEOUTS
from registry.models import Price, Provider, Route, RoutingPolicy, ServedModel, UpstreamKey

EXPLANATION = """\
# Courier's configuration. Secrets are references to the environment: where a variable is
# not set, the secret that is stored already is kept. People are not part of a manifest.
"""
NAMES_OF_LIMITS = {meaning: name for name, meaning in LIMITS.items()}
Block = dict[str, Any]
#: What is allotted to a plan, team or key, read for all of them at once.
OF_EACH = ("ratelimits", "budgets")
#: By content alone, and a model's own first.
ORDER_OF_PRICES = (
    "starts_at",
    F("route__provider__name").asc(nulls_first=True),
    F("route__upstream_model").asc(nulls_first=True),
)


def export() -> str:
    """The whole configuration. Applying it, here and now, changes nothing."""
    references = References()
    blocks: Block = {
        "version": 1,
        "providers": [_provider(row, references) for row in Provider.objects.order_by("name")],
        "models": [_model(row) for row in ServedModel.objects.order_by("name")],
        "policies": [_policy(row) for row in RoutingPolicy.objects.order_by("name")],
        "plans": [_plan(row) for row in Plan.objects.prefetch_related(*OF_EACH).order_by("name")],
        "teams": [
            _team(row)
            for row in Team.objects.filter(archived_at=None)
            .prefetch_related(*OF_EACH)
            .order_by("name")
        ],
        "keys": [
            _key(row, references)
            for row in ApiKey.objects.filter(revoked_at=None)
            .select_related("team", "plan")
            .prefetch_related(*OF_EACH)
            .order_by("team__name", "name")
        ],
    }
    given = {name: block for name, block in blocks.items() if block}
    return EXPLANATION + yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=100)


class References:
    """Names of environment variables, each given out once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, *parts: str) -> str:
        words = re.sub(r"[^A-Z0-9]+", "_", "_".join(parts).upper()).strip("_")
        wished = words if words[:1].isalpha() else f"KEY_{words}"
        name, number = wished, 2
        while name in self._taken:
            name, number = f"{wished}_{number}", number + 1
        self._taken.add(name)
        return f"${{{name}}}"


def _provider(row: Provider, references: References) -> Block:
    timeouts = {key: _plain(getattr(row, field)) for key, field in TIMEOUTS.items()}
    block: Block = {"name": row.name, "kind": row.kind}
    if row.base_url:
        block["base_url"] = _literal(row.base_url)
    block |= _unless(True, enabled=row.enabled)
    keys = [_upstream_key(key, references) for key in row.keys.order_by("name")]
    if keys:
        block["keys"] = keys
    block |= {"timeouts": timeouts, "on_disconnect": row.on_disconnect}
    return block | _unless({}, options=_without_references(row.options))


def _upstream_key(row: UpstreamKey, references: References) -> Block:
    return {
        "name": _literal(row.name),
        "secret": references.name(row.provider.name, row.name),
        "if_unset": "keep",
        **_unless(1, weight=row.weight),
        **_unless(True, enabled=row.enabled),
        **_unless([], models=[_literal(each) for each in row.allowed_models]),
        **_unless({}, limits=_key_limits(row)),
        **_unless(None, budget=_key_budget(row)),
    }


def _key_limits(row: UpstreamKey) -> Block:
    fields = {key: getattr(row, field) for key, field in KEY_LIMITS.items()}
    return {key: amount for key, amount in fields.items() if amount is not None}


def _key_budget(row: UpstreamKey) -> Block | None:
    if row.budget is None:
        return None
    return {"amount": _money(row.budget), "period": row.budget_period}


def _model(row: ServedModel) -> Block:
    block: Block = {"name": row.name}
    if row.description:
        block["description"] = _literal(row.description)
    block |= {"strategy": row.strategy, "max_attempts": row.max_attempts}
    block |= _unless(ServedModel.Stickiness.NONE, stickiness=row.stickiness)
    fallbacks = {key: list(map(_literal, getattr(row, name))) for key, name in FALLBACKS.items()}
    block |= _unless({}, fallbacks={key: names for key, names in fallbacks.items() if names})
    block |= _unless(ServedModel.OnUnsupported.DROP, on_unsupported=row.on_unsupported)
    block |= _unless(True, enabled=row.enabled)
    block |= _unless({}, capabilities=row.capabilities.told())
    lists = {
        "routes": [_route(route) for route in _routes(row)],
        "prices": _prices(row),
        "aliases": [_literal(alias.name) for alias in row.aliases.order_by("name")],
    }
    return block | {name: items for name, items in lists.items() if items}


def _policy(row: RoutingPolicy) -> Block:
    block: Block = {"name": _literal(row.name), "position": row.position}
    block |= _unless("", description=_literal(row.description))
    block |= _unless(True, enabled=row.enabled)
    block |= _unless({}, when=_without_references(row.conditions))
    return block | {"then": _without_references(row.actions)}


def _routes(row: ServedModel) -> Iterable[Route]:
    """In an order that their content tells, so that the same routes make the same text."""
    rows = row.routes.select_related("provider")
    return rows.order_by("priority", "provider__name", "upstream_model")


def _route(row: Route) -> Block:
    return {
        "provider": row.provider.name,
        "upstream_model": _literal(row.upstream_model),
        **_unless(0, priority=row.priority),
        **_unless(1, weight=row.weight),
        **_unless(True, enabled=row.enabled),
        **_unless({}, capabilities=row.capabilities.told()),
        **_unless([], requires_certified=row.requires_certified),
    }


def _price(row: Price) -> Block:
    block: Block = {"from": _moment(row.starts_at)}
    if row.route:
        block["route"] = {
            "provider": row.route.provider.name,
            "upstream_model": _literal(row.route.upstream_model),
        }
    if row.free:
        return block | {"free": True}
    figures = {name: getattr(row, name) for name in Price.FIGURES}
    return block | {name: _money(value) for name, value in figures.items() if value is not None}


def _prices(row: ServedModel) -> list[Block]:
    rows = row.prices.standing().select_related("route__provider")
    return [_price(price) for price in rows.order_by(*ORDER_OF_PRICES)]


def _plan(row: Plan) -> Block:
    block: Block = {"name": _literal(row.name)}
    if row.description:
        block["description"] = _literal(row.description)
    return block | _limits_and_budgets(row)


def _team(row: Team) -> Block:
    block: Block = {"name": _literal(row.name)} | _unless("UTC", time_zone=row.time_zone)
    if row.markup_percent:
        block["markup_percent"] = _money(row.markup_percent)
    return block | _limits_and_budgets(row)


def _key(row: ApiKey, references: References) -> Block:
    block: Block = {
        "name": _literal(row.name),
        "team": _literal(row.team.name),
        "secret": references.name(row.team.name, row.name),
        "if_unset": "keep",
        "models": [_literal(name) for name in row.allowed_models],
        "endpoints": [_literal(name) for name in row.allowed_endpoints],
    }
    if row.plan:
        block["plan"] = _literal(row.plan.name)
    if row.expires_at:
        block["expires_at"] = _moment(row.expires_at)
    return block | _unless(True, enabled=row.disabled_at is None) | _limits_and_budgets(row)


def _limits_and_budgets(owner: Team | ApiKey | Plan) -> Block:
    limits = _limits(sorted(owner.ratelimits.all(), key=_order_of_limit))
    budgets = [_budget(row) for row in sorted(owner.budgets.all(), key=_order_of_budget)]
    return _unless({}, limits=limits) | _unless([], budgets=budgets)


def _order_of_limit(row: RateLimit) -> tuple[str, str, int]:
    return row.model, row.metric, row.window_s


def _order_of_budget(row: Budget) -> tuple[str, str]:
    return row.period, row.window


def _limits(rows: Iterable[RateLimit]) -> Block:
    """Those for all models, then those of some by their models."""
    block: Block = {}
    models: dict[str, Block] = {}
    for row in rows:
        of_model = models.setdefault(row.model, {}) if row.model else block
        of_model[_limit_name(row)] = row.amount
    return block | _unless({}, models=models)


def _limit_name(row: RateLimit) -> str:
    if row.metric == RateLimit.Metric.CONCURRENCY:
        return "concurrency"
    return NAMES_OF_LIMITS[RateLimit.Metric(row.metric), RateLimit.Window(row.window_s)]


def _budget(row: Budget) -> Block:
    block: Block = {"amount": _money(row.amount), "period": row.period}
    block |= _unless(Budget.Window.CALENDAR, window=row.window) | {"hard": row.hard}
    block |= _unless(usual_thresholds(), thresholds=row.thresholds)
    if row.counts_from:
        block["counts_from"] = _moment(row.counts_from)
    return block


def _unless(default: Any, **values: Any) -> Block:
    """Those of these values that are not the default."""
    return {name: value for name, value in values.items() if value != default}


def _literal(text: str) -> str:
    """The text, so written that nothing in it is taken for a reference."""
    return REFERENCE.sub(lambda match: f"${match[0]}", text)


def _without_references(value: Any) -> Any:
    """The same, with every text in it written literally."""
    match value:
        case str():
            return _literal(value)
        case list():
            return [_without_references(each) for each in value]
        case dict():
            return {name: _without_references(each) for name, each in value.items()}
    return value


def _money(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def _moment(moment: datetime) -> object:
    return moment.date() if moment.time() == time.min else moment


def _plain(number: float) -> int | float:
    return int(number) if number.is_integer() else number
