"""What staff have ordered for a while, as it concerns each route. Pure but for `in_force`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from registry.models import Intervention, Route

#: Codes of why a route is left alone.
DRAINED = "drained"
PINNED_ELSEWHERE = "pinned_elsewhere"


@dataclass(frozen=True, slots=True)
class Order:
    """One route is left alone until a moment."""

    reason: str
    until: datetime

    def left_s(self) -> float:
        """Seconds until it ends; not above zero: it has ended."""
        return (self.until - datetime.now(UTC)).total_seconds()


@dataclass(frozen=True, slots=True)
class Orders:
    """All that is ordered at a revision. What has ended since is told by its moment."""

    #: By the route's id.
    out: Mapping[int, tuple[Order, ...]]
    #: Routes whose pauses end that began before the moment.
    tried_again: Mapping[int, datetime]


NONE = Orders({}, {})


def in_force() -> list[Intervention]:
    """Those that have not ended."""
    return list(Intervention.objects.filter(until__gt=datetime.now(UTC)))


def orders_for(routes: Sequence[Route], interventions: Iterable[Intervention]) -> Orders:
    """What the interventions mean for each of the routes."""
    out: dict[int, tuple[Order, ...]] = {}
    tried_again: dict[int, datetime] = {}
    for each in interventions:
        meant = {route.pk for route in routes if _is_meant(route, each)}
        if each.kind == Intervention.Kind.TRY_AGAIN:
            for pk in meant:
                tried_again[pk] = max(each.begun_at, tried_again.get(pk, each.begun_at))
            continue
        order, concerned = _order(each, routes, meant)
        for pk in concerned:
            out[pk] = (*out.get(pk, ()), order)
    return Orders(out, tried_again)


def _is_meant(route: Route, by: Intervention) -> bool:
    return by.route_id == route.pk or by.provider_id == route.provider_id


def _order(by: Intervention, routes: Sequence[Route], meant: set[int]) -> tuple[Order, set[int]]:
    """The order, and the routes that it leaves alone."""
    if by.kind == Intervention.Kind.DRAIN:
        return Order(DRAINED, by.until), meant
    models = {route.model_id for route in routes if route.pk in meant}
    beside = {route.pk for route in routes if route.model_id in models and route.pk not in meant}
    return Order(PINNED_ELSEWHERE, by.until), beside
