"""Which routing policies leave a model without any route, whoever it is that they hold for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import NamedTuple

from gateway.policies import Circumstances, narrow
from registry import snapshot
from registry.models import RoutingPolicy
from registry.policies import Conditions, Policy
from registry.snapshot import Model, Target

#: Policies are looked at here as if they held, so nothing is asked of it.
ANY = Circumstances(
    team="",
    key="",
    tags=(),
    model_asked="",
    model_served="",
    endpoint="",
    input_tokens=0,
    needs=frozenset(),
    moment=datetime.min.replace(tzinfo=UTC),
)


class Bar(NamedTuple):
    """A model that has no route where a policy holds."""

    model: str
    policy: str
    #: Patterns of those for whom it does; none: for all.
    teams: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    #: Whether it always holds.
    is_for_all: bool = False


def bars() -> list[Bar]:
    """Those of the rows as they are now. Costs that a policy caps are left aside."""
    if not RoutingPolicy.objects.filter(enabled=True).exists():
        return []
    current = snapshot.load(0)
    return [bar for model in current.models.values() for bar in _bars_of(model, current)]


def _bars_of(model: Model, current: snapshot.Snapshot) -> Iterator[Bar]:
    names = [name for name, served in current.names.items() if served == model.name]
    fitting = [each for each in current.policies if _may_fit(each.conditions, names)]
    always = [each for each in fitting if _always_holds(each.conditions, model.name)]
    for policy in fitting:
        holding = [each for each in fitting if each is policy or each in always]
        if model.targets and not _left(model.targets, holding):
            when, is_for_all = policy.conditions, policy in always
            yield Bar(model.name, policy.name, when.teams, when.keys, is_for_all)


def _left(targets: Sequence[Target], policies: Sequence[Policy]) -> Sequence[Target]:
    held = [replace(policy, conditions=Conditions()) for policy in policies]
    return narrow(targets, held, ANY, lambda target: 0).targets


def _may_fit(conditions: Conditions, names: Collection[str]) -> bool:
    patterns = conditions.models
    return not patterns or any(fnmatchcase(name, each) for name in names for each in patterns)


def _always_holds(conditions: Conditions, model: str) -> bool:
    """Whether it asks for nothing but models, and not for an alias of this one alone."""
    beside = conditions.model_copy(update={"models": (), "time_zone": "UTC"})
    return beside == Conditions() and _may_fit(conditions, [model])
