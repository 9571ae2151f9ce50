"""What this process knows of targets at this moment, gathered for the decision over one request."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from gateway.breaker import breakers
from gateway.keys import keys
from gateway.load import load
from gateway.retry_budget import Share
from gateway.routing import Out, Standing
from gateway.throttle import throttle
from registry import health, snapshot
from registry.snapshot import Target

THROTTLED = Out("throttled")


class Now:
    """The readings of this moment, for one request. Looking changes nothing."""

    __slots__ = ("_cost_nano", "_lot")

    def __init__(self, cost_nano: Callable[[Target], int | None]) -> None:
        self._cost_nano = cost_nano
        #: Drawn once, so that the same question has the same answer as long as nothing changes.
        self._lot = random.random()

    def outs(self, targets: Sequence[Target]) -> list[tuple[Target, Out]]:
        if _is_quiet():
            targets = [target for target in targets if target.terms.out_reason]
        return [(target, out) for target in targets if (out := self.out(target))]

    def out(self, target: Target) -> Out | None:
        if not target.terms.out_reason and _is_quiet():
            return None
        here = _ordered(target) or keys.out(target) or breakers.out(target)
        if here and here.is_final:
            return here
        return _told_elsewhere(target) or here or self._throttled(target)

    def latency_s(self, target: Target) -> float | None:
        return load.latency_s(target)

    def in_flight(self, target: Target) -> int:
        return load.in_flight(target)

    def quota_left(self, target: Target) -> float:
        return keys.quota_left(target)

    def cost_nano(self, target: Target) -> int | None:
        return self._cost_nano(target)

    def _throttled(self, target: Target) -> Out | None:
        probability = throttle.probability(target)
        return THROTTLED if probability and self._lot < probability else None


def _is_quiet() -> bool:
    """Whether nothing is known against any target, but what is said of its key in its row."""
    return (
        keys.are_quiet
        and breakers.are_quiet
        and throttle.is_quiet
        and health.is_quiet_elsewhere()
        and not snapshot.current().orders.out
    )


def _ordered(target: Target) -> Out | None:
    """What staff have ordered: it holds even if no other target is left."""
    for order in snapshot.current().orders.out.get(target.route_id, ()):
        if (left_s := order.left_s()) > 0:
            return Out(order.reason, left_s, is_final=True)
    return None


def _told_elsewhere(target: Target) -> Out | None:
    """What another instance has found out: a pause that it was told, or a breaker of its own."""
    known = health.elsewhere(target.id)
    if known is None or (left_s := known.left_s()) <= 0:
        return None
    lifted_at = snapshot.current().orders.tried_again.get(target.route_id)
    if lifted_at and known.reported_at < lifted_at:
        return None
    if known.state == "half_open":
        return Out("probing", left_s)
    return Out(known.asked_by or "breaker_open", left_s, is_final=bool(known.asked_by))


class Turnstile:
    """What one request may call next: asked before each of its attempts."""

    def __init__(self, standing: Standing, share: Share) -> None:
        self._standing = standing
        self._share = share

    def out(self, target: Target) -> Out | None:
        return self._standing.out(target)

    def may_retry(self, target: Target, tries: int) -> bool:
        """Traffic that moves to a target that works is no storm, and costs the budget nothing."""
        is_first = tries == 0 and not breakers.is_failing(target)
        return is_first or self._share.take()
