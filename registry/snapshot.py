"""What can be called, in memory: the hot path reads this and never the database.

`current()` is a plain attribute read. `watch()` runs beside the server and loads a new
snapshot within half a second of any change, made by whichever process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase

from asgiref.sync import sync_to_async
from django.db import close_old_connections

from lib.encryption import CannotDecrypt
from lib.tokens import TokenUsage
from registry.kinds import is_offered
from registry.models import Price as PriceRow
from registry.models import Provider, Revision, Route, ServedModel, UpstreamKey

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 0.5
#: Dollars per million tokens, times this, are nano-dollars per token.
NANO_PER_TOKEN = Decimal(1000)


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

    @property
    def id(self) -> tuple[int, int | None]:
        return self.route_id, self.key_id


@dataclass(frozen=True, slots=True)
class Price:
    """A price row in memory, in nano-dollars per token."""

    id: int
    starts_at: datetime
    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    output: Decimal

    def cost_nano(self, usage: TokenUsage) -> int:
        """Nano-dollars, rounded up: a fraction of a nano-dollar is never given away."""
        plain = max(usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens, 0)
        cost = (
            plain * self.input
            + usage.cached_input_tokens * self.cached_input
            + usage.cache_write_tokens * self.cache_write
            + usage.output_tokens * self.output
        )
        return int(cost.to_integral_value(rounding="ROUND_CEILING"))


@dataclass(frozen=True, slots=True)
class Model:
    """A served model in memory."""

    id: int
    name: str
    description: str
    created_at: datetime
    max_attempts: int
    targets: tuple[Target, ...]
    #: Oldest first.
    prices: tuple[Price, ...]

    def price_at(self, moment: datetime) -> Price | None:
        """The price in force at `moment`; None where it is unknown."""
        index = bisect_right(self.prices, moment, key=lambda price: price.starts_at)
        return self.prices[index - 1] if index else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole configuration at one revision."""

    revision: int
    models: Mapping[str, Model]
    #: Aliases and plain names, to the model's name.
    names: Mapping[str, str]
    #: Names with a wildcard, the longest first.
    wildcards: tuple[str, ...]

    def model(self, asked: str) -> Model | None:
        """The model that serves this name: the name itself, an alias, or a wildcard."""
        name = self.names.get(asked)
        if name is None:
            name = next((w for w in self.wildcards if fnmatchcase(asked, w)), None)
        return self.models.get(name) if name is not None else None


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
    revision = Revision.objects.filter(pk=1).values_list("number", flat=True).first() or 0
    if revision == _current.revision:
        return False
    loaded = load(revision)
    for listener in _listeners:
        listener()
    _current = loaded
    return True


async def watch() -> None:
    """Keep the snapshot fresh until cancelled. A database that is away is waited for."""
    refresh_in_thread = sync_to_async(_refresh_and_let_go, thread_sensitive=False)
    failing = False
    while True:
        try:
            await refresh_in_thread()
            failing = False
        except Exception as error:  # noqa: BLE001  # whatever it is, the old snapshot still serves
            if not failing:
                logger.warning("configuration not refreshed: %s", type(error).__name__)
            failing = True
        await asyncio.sleep(CHECK_EVERY_S)


def _refresh_and_let_go() -> None:
    close_old_connections()
    try:
        refresh()
    finally:
        with contextlib.suppress(Exception):
            close_old_connections()


def load(revision: int) -> Snapshot:
    """Read the whole configuration from the database."""
    targets = _targets_by_model()
    prices = _prices_by_model()
    models: dict[str, Model] = {}
    names: dict[str, str] = {}
    for row in ServedModel.objects.filter(enabled=True).prefetch_related("aliases"):
        models[row.name] = Model(
            id=row.pk,
            name=row.name,
            description=row.description,
            created_at=row.created_at.astimezone(UTC),
            max_attempts=row.max_attempts,
            targets=tuple(targets.get(row.pk, ())),
            prices=tuple(prices.get(row.pk, ())),
        )
        names[row.name] = row.name
        for alias in row.aliases.all():
            names.setdefault(alias.name, row.name)
    wildcards = sorted((name for name in models if "*" in name), key=len, reverse=True)
    return Snapshot(revision, models, names, tuple(wildcards))


def targets_to(provider: Provider, upstream_model: str) -> list[Target]:
    """Targets that no route leads to, for a test request: one for each usable key."""
    route = Route(pk=0, provider=provider, upstream_model=upstream_model)
    return [_target(route, key, secret) for key, secret in _usable_keys(provider)]


def _targets_by_model() -> dict[int, list[Target]]:
    keys: dict[int, list[tuple[UpstreamKey | None, str]]] = {}
    targets: dict[int, list[Target]] = {}
    routes = Route.objects.filter(enabled=True, provider__enabled=True).order_by("priority", "pk")
    for route in routes.select_related("provider").prefetch_related("provider__keys"):
        if not is_offered(route.provider.kind):
            continue
        if route.provider_id not in keys:
            keys[route.provider_id] = _usable_keys(route.provider)
        for key, secret in keys[route.provider_id]:
            targets.setdefault(route.model_id, []).append(_target(route, key, secret))
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


def _target(route: Route, key: UpstreamKey | None, secret: str) -> Target:
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
    )


def _prices_by_model() -> dict[int, list[Price]]:
    prices: dict[int, list[Price]] = {}
    for row in PriceRow.objects.order_by("model_id", "starts_at"):
        prices.setdefault(row.model_id, []).append(price_of(row))
    return prices


def price_of(row: PriceRow) -> Price:
    """The arithmetic of a price row."""
    cached = row.input if row.cached_input is None else row.cached_input
    write = row.input if row.cache_write is None else row.cache_write
    return Price(
        id=row.pk,
        starts_at=row.starts_at,
        input=row.input * NANO_PER_TOKEN,
        cached_input=cached * NANO_PER_TOKEN,
        cache_write=write * NANO_PER_TOKEN,
        output=row.output * NANO_PER_TOKEN,
    )
