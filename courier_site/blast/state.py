"""What clients are served with now, and what of it a change takes from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from accounts.models import ApiKey, Budget, Plan, RateLimit, Scoped, Team, User
from courier_site.blast.barring import Bar, bars
from registry import conditions
from registry.key_terms import terms_of
from registry.models import Alias, ServedModel, UpstreamKey

SCOPES: Mapping[str, type[Any]] = {"key": ApiKey, "team": Team, "user": User, "plan": Plan}
UPSTREAM = "upstream key"


class Target(NamedTuple):
    """A way to serve a model, as it can be called now."""

    model: str
    provider: str
    upstream_model: str
    #: The names of the upstream keys that it may be called with.
    keys: frozenset[str]


class Allowance(NamedTuple):
    """A limit or a hard budget, of those who ask or of an upstream key."""

    scope: str
    scope_id: int
    kind: tuple[object, ...]
    amount: float
    words: str


@dataclass(frozen=True)
class State:
    """What can be asked for, what serves it, and how much of it may be used."""

    #: Names and aliases to the models that they ask for.
    names: Mapping[str, str]
    targets: frozenset[Target]
    allowances: Mapping[tuple[object, ...], Allowance]
    scopes: frozenset[tuple[str, int]]
    bars: frozenset[Bar] = frozenset()

    def serves(self, name: str) -> bool:
        """Whether some target answers who asks for this name."""
        return self.model_of(name) in {target.model for target in self.targets}

    def model_of(self, name: str) -> str | None:
        wildcards = (each for each in self.names if each.endswith("*") and fnmatchcase(name, each))
        found = name if name in self.names else max(wildcards, key=len, default="")
        return self.names.get(found)


@dataclass(frozen=True)
class Harm:
    """What a change takes from those who are served now."""

    #: Models that nothing would serve any more.
    stranded: list[str] = field(default_factory=list)
    aliases: list[tuple[str, str]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    #: What would be lowered or added.
    lowered: list[Allowance] = field(default_factory=list)
    #: Models that would have no route where a policy holds.
    barred: list[Bar] = field(default_factory=list)

    def __bool__(self) -> bool:
        parts = (self.stranded, self.aliases, self.targets, self.lowered, self.barred)
        return any(parts)


def now() -> State:
    """What the rows say, in the transaction that is under way."""
    models = [model for model in conditions.models() if model.enabled]
    upstream = list(UpstreamKey.objects.filter(enabled=True).select_related("provider"))
    allowances = [*_limits(), *_budgets(), *_of_upstream(upstream)]
    found = bars()
    closed = {bar.model for bar in found if bar.is_for_all}
    served = [model for model in models if model.name not in closed]
    return State(
        names=_names(models),
        targets=frozenset(target for model in served for target in _targets(model)),
        allowances={(each.scope, each.scope_id, each.kind): each for each in allowances},
        scopes=frozenset(
            (scope, pk)
            for scope, model in SCOPES.items()
            for pk in model.objects.values_list("pk", flat=True)
        )
        | {(UPSTREAM, key.pk) for key in upstream},
        bars=frozenset(bar for bar in found if bar.model not in closed),
    )


def harm(before: State, after: State) -> Harm:
    """What was there before and is no longer."""
    gone = [name for name in before.names if before.serves(name) and not after.serves(name)]
    lost = [target for target in before.targets if not _is_kept(target, after)]
    return Harm(
        stranded=sorted(name for name in gone if before.names[name] == name),
        aliases=sorted((name, before.names[name]) for name in gone if before.names[name] != name),
        targets=sorted(lost, key=lambda target: target[:3]),
        lowered=sorted(_lowered(before, after), key=lambda each: each.words),
        barred=sorted(bar for bar in after.bars - before.bars if before.serves(bar.model)),
    )


def _is_kept(target: Target, after: State) -> bool:
    """Whether the route is still there, with all of its keys, under any name of the model."""
    model = after.model_of(target.model)
    return any(
        other[1:3] == target[1:3] and other.model == model and target.keys <= other.keys
        for other in after.targets
    )


def _lowered(before: State, after: State) -> Iterable[Allowance]:
    for place, allowance in after.allowances.items():
        former = before.allowances.get(place)
        is_new = former is None and (allowance.scope, allowance.scope_id) in before.scopes
        if is_new:
            yield allowance._replace(words=f"{allowance.words} (new)")
        elif former and allowance.amount < former.amount:
            yield allowance._replace(words=f"{allowance.words} (was {former.words})")


def _names(models: Iterable[ServedModel]) -> dict[str, str]:
    by_id = {model.pk: model.name for model in models}
    aliases = Alias.objects.filter(model__in=by_id).values_list("name", "model_id")
    return {name: by_id[pk] for name, pk in aliases} | {name: name for name in by_id.values()}


def _targets(model: ServedModel) -> Iterable[Target]:
    for route in conditions.usable_routes(model):
        keys = [key for key in route.provider.keys.all() if key.enabled and conditions.opens(key)]
        able = [
            key for key in keys if not key.out_since and terms_of(key).allow(route.upstream_model)
        ]
        if able or not keys:
            names = frozenset(key.name for key in able)
            yield Target(model.name, route.provider.name, route.upstream_model, names)


def _limits() -> Iterable[Allowance]:
    for row in RateLimit.objects.select_related(*SCOPES, "key__team"):
        kind = ("limit", row.metric, row.window_s, row.model)
        yield Allowance(*_scope(row), kind, row.amount, f"{row} for {_named(row)}")


def _budgets() -> Iterable[Allowance]:
    for row in Budget.objects.filter(hard=True).select_related(*SCOPES):
        kind = ("budget", row.period, row.window)
        yield Allowance(*_scope(row), kind, float(row.amount), f"{row} for {_named(row)}")


def _of_upstream(keys: Iterable[UpstreamKey]) -> Iterable[Allowance]:
    for key in keys:
        amounts = {
            "requests per minute": key.requests_per_minute,
            "tokens per minute": key.tokens_per_minute,
            "requests at the same time": key.concurrency,
            f"US dollars ({key.get_budget_period_display().lower()})": key.budget,
        }
        name = f"upstream key {key.provider.name}/{key.name}"
        for kind, amount in amounts.items():
            if amount is not None:
                words = f"{amount:,} {kind} for {name}"
                yield Allowance(UPSTREAM, key.pk, (kind,), float(amount), words)


def _scope(row: Scoped) -> tuple[str, int]:
    name = next(name for name in SCOPES if getattr(row, f"{name}_id"))
    return name, getattr(row, f"{name}_id")


def _named(row: Scoped) -> str:
    return f"{_scope(row)[0]} {getattr(row.scope, 'name', row.scope)}"
