"""What this process knows of targets, gathered for the decision over one request."""

from __future__ import annotations

from collections.abc import Callable

from gateway.breaker import breakers
from gateway.load import load
from gateway.routing import Out
from registry.snapshot import Target


class Now:
    """The readings of this moment, for one request. Looking changes nothing."""

    __slots__ = ("_cost_nano",)

    def __init__(self, cost_nano: Callable[[Target], int | None]) -> None:
        self._cost_nano = cost_nano

    def out(self, target: Target) -> Out | None:
        return breakers.out(target)

    def latency_s(self, target: Target) -> float | None:
        return load.latency_s(target)

    def in_flight(self, target: Target) -> int:
        return load.in_flight(target)

    def quota_left(self, target: Target) -> float:
        return 1.0

    def cost_nano(self, target: Target) -> int | None:
        return self._cost_nano(target)
