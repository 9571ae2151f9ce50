"""What can be called, in memory: the hot path reads this and never the database.

`current()` is a plain attribute read. `watch()` runs beside the server and loads a new
snapshot within half a second of any change, made by whichever process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from lib.database_threads import in_thread
from lib.encryption import CannotDecrypt
from registry import certified, interventions
from registry.capabilities import UNKNOWN, Capabilities, together
from registry.interventions import Orders
from registry.key_terms import FREE, KeyTerms, terms_of
from registry.kinds import is_offered
from registry.models import Price as PriceRow
from registry.models import (
    Provider,
    Revision,
    Route,
    RoutingPolicy,
    ServedModel,
    UpstreamKey,
)
from registry.policies import NO_ROUTE, Conditions, Policy, policy_of
from registry.pricing import Price, in_force, price_of

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """A route made ready to call with one upstream key. Times are in seconds."""

    route_id: int
    key_id: int | None
    provider_id: int
    provider_name: str
    kind: str
    base_url: str
    upstream_model: str
    api_key: str = field(repr=False)
    priority: int
    weight: int
    key_weight: int
    connect_timeout_s: float
    first_byte_timeout_s: float
    idle_timeout_s: float
    total_timeout_s: float
    drains: bool
    #: What only this kind of provider needs to know.
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    capabilities: Capabilities = UNKNOWN
    #: Whether a request is refused for what the route cannot do, instead of served without.
    refuses_unsupported: bool = False
    tls_timeout_s: float = 5.0
    #: How long an answer is read on after its client has left, where it is read on at all.
    drain_timeout_s: float = 60.0
    #: The traits that the route is certified for; known only where a policy asks for some.
    certified: frozenset[str] = frozenset()
    #: What its key may be used for and has to keep to.
    terms: KeyTerms = FREE
    #: Whether a part of the upstream model's name is the client's: the route is of a wildcard.
    is_named_by_client: bool = False

    @property
    def id(self) -> tuple[int, int | None]:
        return self.route_id, self.key_id


@dataclass(frozen=True, slots=True)
class Model:
    """A served model in memory."""

    id: int
    name: str
    description: str
    created_at: datetime
    max_attempts: int
    targets: tuple[Target, ...]
    #: Its own, oldest first.
    prices: tuple[Price, ...]
    #: Those of single routes, by the route's id, oldest first.
    route_prices: Mapping[int, tuple[Price, ...]] = field(default_factory=dict)
    #: What at least one of its targets can do.
    capabilities: Capabilities = UNKNOWN
    #: What routes are to be certified for, and are not used without.
    uncertified: tuple[str, ...] = ()
    #: One of `ServedModel.Strategy`.
    strategy: str = "priority"
    #: Whether requests of one session go to one route.
    is_sticky: bool = False
    #: The recorded revision of the configuration that this is of.
    revision: int = 0
    #: Names of models that are tried for what is too long for this one.
    context_fallbacks: tuple[str, ...] = ()
    #: And for what its providers' rules do not allow.
    content_fallbacks: tuple[str, ...] = ()

    def price_at(self, moment: datetime) -> Price | None:
        """The model's own price in force at `moment`; None where it has none."""
        return in_force(self.prices, moment)

    def price_for(self, target: Target, moment: datetime) -> Price | None:
        """What an answer of `target` costs at `moment`: its route's price, else the model's.

        None where it is unknown, which is not the same as free.
        """
        own = self.route_prices.get(target.route_id)
        return (in_force(own, moment) if own else None) or self.price_at(moment)

    def asked_as(self, name: str) -> Model:
        """This model, asked for by that name: what its wildcard stands for is put into routes.

        A route of `vendor/*` to the upstream model `*` passes `vendor/large` on as `large`.
        """
        if not self.name.endswith("*") or not name.startswith(self.name[:-1]):
            return self
        if not any("*" in target.upstream_model for target in self.targets):
            return self
        stands_for = name[len(self.name) - 1 :]
        named = (_named(each, stands_for) for each in self.targets)
        return replace(self, targets=tuple(each for each in named if _is_allowed(each)))

    def priced_targets(self, moment: datetime) -> tuple[Target, ...]:
        """The targets of which is known what their answers cost at `moment`."""
        if self.price_at(moment):
            return self.targets
        return tuple(target for target in self.targets if self.price_for(target, moment))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole configuration at one revision."""

    revision: int
    models: Mapping[str, Model]
    #: Aliases and plain names, to the model's name.
    names: Mapping[str, str]
    #: Names with a wildcard, the longest first.
    wildcards: tuple[str, ...]
    #: In the order in which they are looked at.
    policies: tuple[Policy, ...] = ()
    #: The newest `RecordedRevision` that is in it: the number that people see.
    recorded: int = 0
    #: What staff have ordered for a while.
    orders: Orders = interventions.NONE

    def model(self, asked: str) -> Model | None:
        """The model that serves this name: the name itself, an alias, or a wildcard."""
        fitting = (wildcard for wildcard in self.wildcards if fnmatchcase(asked, wildcard))
        model = self.models.get(self.names.get(asked) or next(fitting, ""))
        return model.asked_as(asked) if model else None


def _named(target: Target, stands_for: str) -> Target:
    if "*" not in target.upstream_model:
        return target
    name = target.upstream_model.replace("*", stands_for)
    return replace(target, upstream_model=name, is_named_by_client=True)


EMPTY = Snapshot(revision=-1, models={}, names={}, wildcards=())
_current = EMPTY
_listeners: list[Callable[[], None]] = []


def current() -> Snapshot:
    """The snapshot in force. `EMPTY` until the first load."""
    return _current


def is_loaded() -> bool:
    return _current is not EMPTY


def on_change(listener: Callable[[], None]) -> None:
    """Call `listener` in the loading thread, before a new revision is put in force."""
    if listener not in _listeners:
        _listeners.append(listener)


def refresh() -> bool:
    """Load a new snapshot if the configuration changed. Returns whether it did. Synchronous."""
    global _current  # noqa: PLW0603  # the one place where the snapshot is replaced
    revision, recorded = _numbers()
    if revision == _current.revision:
        return False
    loaded = load(revision, recorded)
    for listener in _listeners:
        listener()
    _current = loaded
    return True


def _numbers() -> tuple[int, int]:
    """The number of the last change, and that of the newest recorded revision."""
    row = Revision.objects.filter(pk=1).values_list("number", "recorded").first()
    return row or (0, 0)


async def watch() -> None:
    """Keep the snapshot fresh until cancelled. A database that is away is waited for."""
    failing = False
    while True:
        try:
            await in_thread(refresh)
            failing = False
        except Exception as error:  # noqa: BLE001  # whatever it is, the old snapshot still serves
            if not failing:
                logger.warning("configuration not refreshed: %s", type(error).__name__)
            failing = True
        await asyncio.sleep(CHECK_EVERY_S)


def load(revision: int, recorded: int = 0) -> Snapshot:
    """Read the whole configuration from the database."""
    routes = _routes()
    uncertified = certified.missing(routes)
    rules = _policies()
    usable = [route for route in routes if route.pk not in uncertified]
    targets = _targets_by_model(usable, _certified(usable, rules))
    missing = certified.by_model(routes, uncertified)
    prices, route_prices = _prices()
    models: dict[str, Model] = {}
    names: dict[str, str] = {}
    for row in ServedModel.objects.filter(enabled=True).prefetch_related("aliases"):
        of_model = tuple(targets.get(row.pk, ()))
        models[row.name] = Model(
            id=row.pk,
            name=row.name,
            description=row.description,
            created_at=row.created_at.astimezone(UTC),
            max_attempts=row.max_attempts,
            targets=of_model,
            prices=tuple(prices.get(row.pk, ())),
            route_prices=route_prices.get(row.pk, {}),
            capabilities=together([each.capabilities for each in of_model] or [row.capabilities]),
            uncertified=missing.get(row.pk, ()),
            strategy=row.strategy,
            is_sticky=row.stickiness == ServedModel.Stickiness.SESSION,
            revision=recorded,
            context_fallbacks=tuple(row.context_fallbacks),
            content_fallbacks=tuple(row.content_fallbacks),
        )
        names[row.name] = row.name
        for alias in row.aliases.all():
            names.setdefault(alias.name, row.name)
    wildcards = sorted((name for name in models if "*" in name), key=len, reverse=True)
    orders = interventions.orders_for(routes, interventions.in_force())
    return Snapshot(revision, models, names, tuple(wildcards), rules, recorded, orders)


def targets_to(provider: Provider, upstream_model: str) -> list[Target]:
    """Targets that no route leads to, for a test request: one for each usable key."""
    route = Route(pk=0, model=ServedModel(), provider=provider, upstream_model=upstream_model)
    return [_target(route, key, secret, frozenset()) for key, secret in _usable_keys(provider)]


def _routes() -> list[Route]:
    """The routes that are switched on, to providers that this installation offers."""
    on = Route.objects.filter(enabled=True, provider__enabled=True).order_by("priority", "pk")
    on = on.select_related("provider", "model").prefetch_related("provider__keys")
    return [route for route in on if is_offered(route.provider.kind)]


def _policies() -> tuple[Policy, ...]:
    found = []
    for row in RoutingPolicy.objects.filter(enabled=True):
        try:
            found.append(policy_of(row.name, row.conditions, row.actions))
        except ValueError:
            # A policy that cannot be read excludes nothing by accident: it allows nothing.
            logger.warning("routing policy %s cannot be read: no route is used", row.pk)
            found.append(Policy(row.name, Conditions(), NO_ROUTE))
    return tuple(found)


def _certified(routes: Sequence[Route], rules: Iterable[Policy]) -> dict[int, frozenset[str]]:
    """What each route is certified for, by its id; nothing if no policy asks."""
    if not any(policy.actions.certified for policy in rules):
        return {}
    return certified.passed(routes)


def _targets_by_model(
    routes: Iterable[Route], certified_for: Mapping[int, frozenset[str]]
) -> dict[int, list[Target]]:
    keys: dict[int, list[tuple[UpstreamKey | None, str]]] = {}
    targets: dict[int, list[Target]] = {}
    for route in routes:
        if route.provider_id not in keys:
            keys[route.provider_id] = _usable_keys(route.provider)
        passed = certified_for.get(route.pk, frozenset())
        reached = (_target(route, key, secret, passed) for key, secret in keys[route.provider_id])
        targets.setdefault(route.model_id, []).extend(filter(_is_allowed, reached))
    return targets


def _usable_keys(provider: Provider) -> list[tuple[UpstreamKey | None, str]]:
    """The provider's usable keys, opened. One that needs none has a single empty one."""
    keys = provider.keys.all()
    if not keys:
        return [(None, "")]
    usable: list[tuple[UpstreamKey | None, str]] = []
    # A provider whose keys are all switched off must not be called without any.
    for key in keys:
        try:
            if key.enabled:
                usable.append((key, key.secret))
        except CannotDecrypt:
            logger.warning("upstream key %s: no configured encryption key opens it", key.pk)
    return usable


def _target(route: Route, key: UpstreamKey | None, secret: str, passed: frozenset[str]) -> Target:
    provider = route.provider
    return Target(
        route_id=route.pk,
        key_id=key.pk if key else None,
        provider_id=provider.pk,
        provider_name=provider.name,
        kind=provider.kind,
        base_url=provider.effective_base_url,
        upstream_model=route.upstream_model,
        api_key=secret,
        priority=route.priority,
        weight=route.weight,
        key_weight=key.weight if key else 1,
        connect_timeout_s=provider.connect_timeout_s,
        first_byte_timeout_s=provider.first_byte_timeout_s,
        idle_timeout_s=provider.idle_timeout_s,
        total_timeout_s=provider.total_timeout_s,
        drains=provider.on_disconnect == Provider.OnDisconnect.DRAIN,
        options=provider.options,
        capabilities=route.capabilities.over(route.model.capabilities),
        refuses_unsupported=route.model.on_unsupported == ServedModel.OnUnsupported.REFUSE,
        tls_timeout_s=provider.tls_timeout_s,
        drain_timeout_s=provider.drain_timeout_s,
        certified=passed,
        terms=terms_of(key),
    )


def _is_allowed(target: Target) -> bool:
    return target.terms.allow(target.upstream_model)


def _prices() -> tuple[dict[int, list[Price]], dict[int, dict[int, tuple[Price, ...]]]]:
    """The prices of models, and those of routes by model and route, each oldest first."""
    of_models: dict[int, list[Price]] = {}
    of_routes: dict[int, dict[int, tuple[Price, ...]]] = {}
    for row in PriceRow.objects.standing().order_by("starts_at"):
        if row.route_id is None:
            of_models.setdefault(row.model_id, []).append(price_of(row))
        else:
            routes = of_routes.setdefault(row.model_id, {})
            routes[row.route_id] = (*routes.get(row.route_id, ()), price_of(row))
    return of_models, of_routes
