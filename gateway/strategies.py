"""How the routes of one tier, two at least, are ordered: a function for each strategy. Pure.

All begin with the same shuffle by weight, so that whatever a strategy finds equal is shared
by weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Protocol

from registry.snapshot import Target

#: A number in [0, 1) for a target: drawn anew each time, or the same for a session.
Draw = Callable[[Target], float]
#: So many times the mean of its tier, and a few, may be in flight at the route of a session.
HOT, FEW = 2, 4
_WORD = (1 << 64) - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class Readings(Protocol):
    """What is known of targets at this moment. Looking changes nothing."""

    def latency_s(self, target: Target) -> float | None:
        """Seconds until its first output, rather of its slow answers; None if not known."""

    def in_flight(self, target: Target) -> int:
        """Requests that it is serving."""

    def quota_left(self, target: Target) -> float:
        """The part of its key's quota that is left, 0 to 1; 1 if nothing is known."""

    def cost_nano(self, target: Target) -> int | None:
        """What this request would cost at it, by an estimate; None if not known."""


def by_weight(tier: Sequence[Target], readings: Readings, draw: Draw) -> list[Target]:
    """Each place goes to one of those left, by weight. Weight 0 comes last."""
    # Efraimidis and Spirakis: sorting by u ** (1 / w) draws without replacement by weight.
    return sorted(tier, key=lambda target: _lot(target, draw), reverse=True)


def least_latency(tier: Sequence[Target], readings: Readings, draw: Draw) -> list[Target]:
    """Of two drawn by weight the one that will answer sooner; the others by the same measure.

    The measure is peak-EWMA: seconds until the first output, times what waits already. Two
    choices, not the best of all, keep instances from all running to one target at once.
    """
    drawn = by_weight(tier, readings, draw)
    told = [readings.latency_s(target) for target in drawn]
    known = [seconds for seconds in told if seconds is not None]
    usual = sum(known) / len(known) if known else 1.0
    loads = [
        (usual if seconds is None else seconds) * (readings.in_flight(target) + 1)
        for seconds, target in zip(told, drawn, strict=True)
    ]
    first = 0 if loads[0] <= loads[1] else 1
    others = [place for place in range(len(drawn)) if place != first]
    return [drawn[place] for place in (first, *sorted(others, key=loads.__getitem__))]


def least_cost(tier: Sequence[Target], readings: Readings, draw: Draw) -> list[Target]:
    """The cheapest for this request first; last those whose price is not known."""

    def cost(target: Target) -> float:
        nano = readings.cost_nano(target)
        return float("inf") if nano is None else nano

    return sorted(by_weight(tier, readings, draw), key=cost)


def least_busy(tier: Sequence[Target], readings: Readings, draw: Draw) -> list[Target]:
    """Those with the fewest requests for their weight first."""

    def load(target: Target) -> float:
        weight = _weight(target)
        return (readings.in_flight(target) + 1) / weight if weight else float("inf")

    return sorted(by_weight(tier, readings, draw), key=load)


def most_quota(tier: Sequence[Target], readings: Readings, draw: Draw) -> list[Target]:
    """Those first whose key has the largest part of its quota left."""
    return sorted(by_weight(tier, readings, draw), key=readings.quota_left, reverse=True)


def kept_together(tier: Sequence[Target], session: int, readings: Readings) -> list[Target]:
    """The same order for every request of a session, in every instance, by weight.

    A route that leaves or joins moves only the sessions that are its own. One that is much
    busier than the others here comes last.
    """
    ordered = by_weight(tier, readings, lambda target: _hashed(session, target))
    busy = [readings.in_flight(target) for target in ordered]
    most = HOT * sum(busy) / len(busy) + FEW
    if max(busy) <= most:
        return ordered
    # Stable: those that are hot come last, and all others keep their places.
    places = sorted(range(len(ordered)), key=lambda place: busy[place] > most)
    return [ordered[place] for place in places]


def session_number(name: str) -> int:
    """A number for a session, the same in every process."""
    return int.from_bytes(blake2b(name.encode("utf-8", "replace"), digest_size=8).digest())


def _hashed(session: int, target: Target) -> float:
    """A number in [0, 1) that looks random and is the same in every process."""
    mixed = (session ^ _seed(target.route_id, target.key_id or 0)) * _FIRST & _WORD
    return ((mixed ^ mixed >> 32) * _SECOND & _WORD) / (_WORD + 1)


@lru_cache(maxsize=10_000)
def _seed(route_id: int, key_id: int) -> int:
    # SplitMix64 (Steele, Lea and Flood 2014). Python's own hash of a tuple is so far from even
    # that one of two equal routes would get two thirds of the sessions.
    mixed = (route_id * _GOLDEN + key_id * _SECOND + _FIRST) & _WORD
    mixed = (mixed ^ mixed >> 30) * _FIRST & _WORD
    mixed = (mixed ^ mixed >> 27) * _SECOND & _WORD
    return mixed ^ mixed >> 31


def _lot(target: Target, draw: Draw) -> float:
    drawn, weight = draw(target), _weight(target)
    return drawn ** (1 / weight) if weight > 0 else -1 + drawn


def _weight(target: Target) -> int:
    return target.weight * target.key_weight


Strategy = Callable[[Sequence[Target], Readings, Draw], list[Target]]
#: By the names of `ServedModel.Strategy`.
STRATEGIES: dict[str, Strategy] = {
    "priority": by_weight,
    "weighted": by_weight,
    "least_latency": least_latency,
    "least_cost": least_cost,
    "least_busy": least_busy,
    "most_quota": most_quota,
}
#: Those that take all routes together, whatever their priority.
WITHOUT_TIERS = frozenset({"weighted"})
