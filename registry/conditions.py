"""In what state a provider or a model is, in words: the same on every page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from django.db.models import Prefetch, QuerySet

from lib.encryption import CannotDecrypt
from registry import certified, health
from registry.health import ProviderHealth
from registry.kinds import NEEDS_KEY, is_offered
from registry.models import Intervention, Price, Provider, Route, ServedModel, UpstreamKey

Level = Literal["success", "info", "warning", "danger", "plain"]
PriceState = Literal["priced", "free", "unknown"]

#: Why a breaker opened, where the code alone would not tell a person.
REASONS = {
    "upstream_auth_failed": "it refused the upstream key",
    "upstream_bad_response": "its answers cannot be read",
    "upstream_rate_limited": "it refused for too many requests",
    "upstream_stalled": "its answers stopped half-way",
    "upstream_timeout": "it did not answer in time",
    "upstream_tls": "no trusted connection was possible",
    "upstream_unavailable": "it failed",
    "upstream_unreachable": "it could not be reached",
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A word for lists, how bad it is, and a sentence that says more."""

    word: str
    level: Level
    detail: str = ""


HEALTHY = Condition("healthy", "success")
DISABLED = Condition("disabled", "plain", "It is switched off.")
UNUSED = Condition("unused", "plain", "No enabled route leads to it.")
NO_KEY = Condition("no key", "danger", "It has no upstream key that is enabled and can be opened.")
KEYS_OUT = Condition("keys out", "danger", "All of its keys are out. See Upstream keys.")
NOT_OFFERED = Condition("not offered", "danger", "This installation does not offer its kind.")
UNKNOWN = Condition("unknown", "warning", "The breakers' states cannot be read right now.")


def providers() -> QuerySet[Provider]:
    """All providers with what `provider_condition` needs, in four queries."""
    return Provider.objects.prefetch_related("keys", "routes", in_force())


def in_force() -> Prefetch[Any]:
    """The interventions of providers that have not ended, as `ordered`."""
    now = datetime.now(UTC)
    return Prefetch("interventions", Intervention.objects.filter(until__gt=now), to_attr="ordered")


def flows() -> health.Flows:
    """The traffic of each provider by name, over all instances. Empty where it is not known."""
    try:
        return health.flows()
    except health.HealthUnknown:
        return {}


def models() -> QuerySet[ServedModel]:
    """All models with what `has_usable_route` and `price_state` need, in a few queries."""
    routes = Route.objects.select_related("provider").prefetch_related("provider__keys")
    return ServedModel.objects.prefetch_related(Prefetch("routes", routes), "prices")


def breakers() -> Mapping[str, ProviderHealth] | None:
    """Providers with a breaker that is not closed, by name. None where that is not known."""
    try:
        return health.states()
    except health.HealthUnknown:
        return None


def provider_condition(
    provider: Provider, breakers: Mapping[str, ProviderHealth] | None
) -> Condition:
    """Its state. `breakers` is None where they are not known."""
    if not provider.enabled:
        return DISABLED
    if not is_offered(provider.kind):
        return NOT_OFFERED
    if without_key := _without_key(provider):
        return without_key
    if not any(route.enabled for route in provider.routes.all()):
        return UNUSED
    for intervention in getattr(provider, "ordered", ()):
        if intervention.kind != Intervention.Kind.TRY_AGAIN:
            return _ordered(intervention)
    if breakers is None:
        return UNKNOWN
    return _breaker_condition(breakers.get(provider.name))


def _ordered(by: Intervention) -> Condition:
    word = "drained" if by.kind == Intervention.Kind.DRAIN else "pinned"
    why = f": {by.reason}" if by.reason else ""
    return Condition(word, "warning", f"by {by.begun_by} until {clock(by.until)}{why}")


def _breaker_condition(health: ProviderHealth | None) -> Condition:
    if health is None:
        return HEALTHY
    since = f"since {clock(health.since)}"
    why = f"{since}: {REASONS.get(health.reason_code, health.reason_code)}"
    if health.state == "open":
        return Condition("breaker open", "danger", why)
    return Condition("recovering", "warning", why)


def clock(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    today = moment.date() == datetime.now(UTC).date()
    return f"{moment:%H:%M} UTC" if today else f"{moment:%Y-%m-%d %H:%M} UTC"


def can_sign(provider: Provider) -> bool:
    """Whether it has a usable upstream key, or none and needs none."""
    keys = list(provider.keys.all())
    if not keys:
        return provider.kind not in NEEDS_KEY
    return any(key.enabled and opens(key) for key in keys)


def _without_key(provider: Provider) -> Condition | None:
    """What is wrong where it has no key to use."""
    if not can_sign(provider):
        return NO_KEY
    enabled = [key for key in provider.keys.all() if key.enabled and opens(key)]
    return KEYS_OUT if enabled and all(key.out_since for key in enabled) else None


def opens(key: UpstreamKey) -> bool:
    """Whether one of the configured encryption keys opens its secret."""
    try:
        return bool(key.secret)
    except CannotDecrypt:
        return False


def usable_routes(model: ServedModel) -> list[Route]:
    """Where requests for it can be sent, if the routes are certified for what they demand."""
    return [
        route
        for route in model.routes.all()
        if route.enabled
        and route.provider.enabled
        and is_offered(route.provider.kind)
        and can_sign(route.provider)
    ]


def has_usable_route(model: ServedModel) -> bool:
    """Whether a request for it can be sent anywhere, certifications left aside."""
    return bool(usable_routes(model))


def held_back(models: Iterable[ServedModel]) -> list[ServedModel]:
    """Those of whose routes every one waits for a certification that it demands."""
    routes = {model: usable_routes(model) for model in models}
    lacking = certified.missing(route for each in routes.values() for route in each)
    return [
        model
        for model, each in routes.items()
        if each and all(route.pk in lacking for route in each)
    ]


def price_state(model: ServedModel, at: datetime) -> PriceState:
    """What is known of the cost of a request at that moment, over all its enabled routes."""
    prices = list(model.prices.all())
    routes: list[Route | None] = [route for route in model.routes.all() if route.enabled]
    found = [price_in_force(prices, at, route) for route in routes or [None]]
    if None in found:
        return "unknown"
    return "free" if all(price.free for price in found if price) else "priced"


def price_in_force(prices: Iterable[Price], at: datetime, route: Route | None) -> Price | None:
    """The price of a route at that moment: its own, else the model's. None: of the model."""
    begun = [price for price in prices if price.starts_at <= at and not price.withdrawn_at]
    own = [price for price in begun if route and price.route_id == route.pk]
    shared = [price for price in begun if price.route_id is None]
    return max(own or shared, key=lambda price: price.starts_at, default=None)
