"""In which order the routes of a model are tried. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import groupby

from registry.snapshot import Target


def order(
    targets: Sequence[Target],
    is_out: Callable[[Target], bool],
    draw: Callable[[], float] = random.random,
) -> list[Target]:
    """The targets by priority, those of one priority in a weighted shuffle.

    Targets that are out for now are left out; if all are, all are returned, for an
    attempt that may fail is better than a refusal that surely does.
    """
    if len(targets) == 1:
        return list(targets)
    ordered: list[Target] = []
    by_priority = sorted(targets, key=lambda target: target.priority)
    for _, group in groupby(by_priority, key=lambda target: target.priority):
        ordered += _shuffled(list(group), draw)
    return [target for target in ordered if not is_out(target)] or ordered


def _shuffled(group: list[Target], draw: Callable[[], float]) -> list[Target]:
    """Each place goes to one of those left, by weight. Weight 0 comes last."""
    if len(group) == 1:
        return group
    # Efraimidis and Spirakis: sorting by u ** (1 / w) draws without replacement by weight.
    keys = {target.id: _key(target.weight * target.key_weight, draw()) for target in group}
    return sorted(group, key=lambda target: keys[target.id], reverse=True)


def _key(weight: int, drawn: float) -> float:
    return drawn ** (1 / weight) if weight > 0 else -1 + drawn
