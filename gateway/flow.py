"""The traffic of each provider in this process, for the admin's view of partial outages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.load import load
from gateway.window import Window
from registry import snapshot
from registry.health import Flow, Flows
from registry.snapshot import Target

#: Seconds that are looked at.
WINDOW_S = 60


@dataclass(slots=True)
class Seen:
    """Requests that were meant for a provider, those of them that others served, and failures."""

    meant: Window = field(default_factory=lambda: Window(WINDOW_S))
    last_error: str = ""
    #: A Unix time.
    last_error_at: float = 0.0


class Traffic:
    """What becomes of the requests that are meant for providers. Lives on the event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seen: dict[str, Seen] = {}

    def answered(self, meant_for: Target, served_by: Target) -> None:
        """A request that was meant for one target was answered by it, or by another."""
        moved = served_by.provider_id != meant_for.provider_id
        self._of(meant_for).meant.add(self._clock(), 1, moved)

    def failed(self, target: Target, code: str) -> None:
        seen = self._of(target)
        seen.last_error, seen.last_error_at = code, self._clock()

    def told(self) -> Flows:
        """The traffic of the last minute, by provider."""
        now = self._clock()
        told: dict[str, Flow] = {}
        for name, seen in self._seen.items():
            meant = seen.meant.slide(now)
            flow = told[name] = Flow(meant=meant.all, moved=meant.some)
            if seen.last_error_at > now - WINDOW_S:
                flow.last_error, flow.last_error_at = seen.last_error, seen.last_error_at
        for target in _targets():
            if busy := load.in_flight(target):
                told.setdefault(target.provider_name, Flow()).in_flight += busy
        return told

    def _of(self, target: Target) -> Seen:
        seen = self._seen.get(target.provider_name)
        if seen is None:
            seen = self._seen[target.provider_name] = Seen()
        return seen


def _targets() -> list[Target]:
    return [target for model in snapshot.current().models.values() for target in model.targets]


traffic = Traffic()
