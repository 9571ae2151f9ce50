"""In which order the routes of a model are tried, and why others are not. Pure."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.strategies import STRATEGIES, WITHOUT_TIERS, Draw, Readings, kept_together
from registry.snapshot import Target


class Out(NamedTuple):
    """Why a target is left alone for now."""

    #: A code, such as `breaker_open`.
    reason: str
    #: Seconds until it may be tried again, if that is known.
    for_s: float | None = None
    #: Whether it must not be called even if no other is left.
    is_final: bool = False


class Standing(Readings, Protocol):
    """Readings, and which targets are out. Looking changes nothing."""

    def outs(self, targets: Sequence[Target]) -> list[tuple[Target, Out]]:
        """Those of `targets` that are left alone, in the same order, and why."""

    def out(self, target: Target) -> Out | None:
        """Why `target` is left alone; None if it may be called."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A target that is not tried, and why."""

    target: Target
    #: A code: of `Out`, or of what else has left it out.
    reason: str
    for_s: float | None = None
    #: The policy that did it, if one did.
    policy: str = ""


class Manner(NamedTuple):
    """How a request's routes are to be ordered."""

    strategy: str = "priority"
    #: The session whose requests go to one route; None if the request has none.
    session: int | None = None
    #: Targets that come before the others, by their ids.
    preferred: Collection[tuple[int, int | None]] = ()


@dataclass(slots=True)
class Plan:
    """The targets of a request in the order in which they are tried."""

    targets: list[Target]
    dropped: list[Dropped] = field(default_factory=list)
    #: Whether targets are tried although they are out, for no other is left.
    is_last_resort: bool = False
    #: Those that would have been tried first, were they not out for now.
    passed_over: list[Target] = field(default_factory=list)

    @property
    def meant_for(self) -> Target:
        """The one that would have been tried first."""
        return (self.passed_over or self.targets)[0]


def plan(
    targets: Sequence[Target], manner: Manner, standing: Standing, draw: Draw | None = None
) -> Plan:
    """The order of `targets`, without those that are out for now.

    If all are, those that may be called at all are returned: an attempt that may fail is
    better than a refusal that surely does.
    """
    ordered = order(targets, manner, standing, draw or drawn)
    outs = standing.outs(ordered)
    if not outs:
        return Plan(ordered)
    out_ids = {target.id for target, _ in outs}
    usable = [target for target in ordered if target.id not in out_ids]
    if usable:
        dropped = [_dropped(target, out) for target, out in outs]
        return Plan(usable, dropped, passed_over=ordered[: ordered.index(usable[0])])
    hopes = [target for target, out in outs if not out.is_final]
    hopeless = [_dropped(target, out) for target, out in outs if out.is_final]
    return Plan(hopes, hopeless, is_last_resort=bool(hopes))


def _dropped(target: Target, out: Out) -> Dropped:
    return Dropped(target, out.reason, out.for_s)


def order(
    targets: Sequence[Target], manner: Manner, readings: Readings, draw: Draw
) -> list[Target]:
    """The targets tier by tier: those preferred, then by priority; a tier by the strategy."""
    if len(targets) < 2:
        return list(targets)
    ordered: list[Target] = []
    for tier in _tiers(targets, manner):
        if len(tier) == 1:
            ordered += tier
        elif manner.session is not None:
            ordered += kept_together(tier, manner.session, readings)
        else:
            ordered += STRATEGIES[manner.strategy](tier, readings, draw)
    return ordered


def _tiers(targets: Sequence[Target], manner: Manner) -> Iterable[list[Target]]:
    tiers: dict[tuple[bool, int], list[Target]] = {}
    has_tiers = manner.strategy not in WITHOUT_TIERS
    for target in targets:
        name = (target.id not in manner.preferred, target.priority if has_tiers else 0)
        tiers.setdefault(name, []).append(target)
    return [tiers[name] for name in sorted(tiers)]


def drawn(_: Target) -> float:
    """A number in [0, 1), another each time."""
    return random.random()


def left_out(before: Sequence[Target], after: Sequence[Target], reason: str) -> list[Dropped]:
    """What a step has dropped, for this reason."""
    if len(before) == len(after):
        return []
    kept = {target.id for target in after}
    return [Dropped(target, reason) for target in before if target.id not in kept]
