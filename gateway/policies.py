"""Which policies hold for a request, and what they do to its routes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase

from gateway.routing import Dropped
from registry.policies import DAYS, Actions, Conditions, Policy
from registry.snapshot import Target


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a policy may ask of a request."""

    team: str
    key: str
    tags: Sequence[str]
    model_asked: str
    model_served: str
    endpoint: str
    input_tokens: int
    needs: frozenset[str]
    moment: datetime
    #: Percent of the fullest budget; None before it is known.
    budget_used: float | None = None

    def at_budget(self, used_percent: float) -> Circumstances:
        """The same, now that so much of a budget is known to be used, or more."""
        return replace(self, budget_used=max(used_percent, self.budget_used or 0.0))


@dataclass(slots=True)
class Narrowed:
    """The routes that policies have left, and what they have done."""

    targets: list[Target]
    dropped: list[Dropped] = field(default_factory=list)
    #: Ids of those that come first.
    preferred: set[tuple[int, int | None]] = field(default_factory=set)
    #: The names of the policies that held, in their order.
    held: list[str] = field(default_factory=list)


def narrow(
    targets: Sequence[Target],
    policies: Iterable[Policy],
    circumstances: Circumstances,
    cost_nano: Callable[[Target], int | None],
) -> Narrowed:
    """What is left of `targets` by those of the policies that hold."""
    narrowed = Narrowed(list(targets))
    for policy in policies:
        if not holds(policy.conditions, circumstances):
            continue
        narrowed.held.append(policy.name)
        _act(narrowed, policy, cost_nano)
        if policy.actions.last:
            break
    return narrowed


def holds(conditions: Conditions, told: Circumstances) -> bool:
    """Whether all of the conditions are met."""
    return (
        _fits(conditions.teams, told.team)
        and _fits(conditions.keys, told.key)
        and _fits(conditions.models, told.model_asked, told.model_served)
        and _fits(conditions.endpoints, told.endpoint)
        and _fits(conditions.tags, *told.tags)
        and _is_within(told.input_tokens, conditions)
        and (not conditions.needs or any(need in told.needs for need in conditions.needs))
        and _budget_is_used(conditions, told)
        and _is_the_time(conditions, told.moment)
    )


def asks_for_budget(policies: Iterable[Policy]) -> bool:
    """Whether one of them depends on how much of a budget is used."""
    return any(policy.conditions.budget_used_at_least is not None for policy in policies)


def _fits(patterns: Sequence[str], *names: str) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _is_within(tokens: int, conditions: Conditions) -> bool:
    least, most = conditions.input_tokens_at_least, conditions.input_tokens_at_most
    return (least is None or tokens >= least) and (most is None or tokens <= most)


def _budget_is_used(conditions: Conditions, told: Circumstances) -> bool:
    least = conditions.budget_used_at_least
    return least is None or (told.budget_used is not None and told.budget_used >= least)


def _is_the_time(conditions: Conditions, moment: datetime) -> bool:
    if not conditions.hours and not conditions.days:
        return True
    there = moment.astimezone(conditions.zone)
    minute, day = there.hour * 60 + there.minute, there.weekday()
    if conditions.minutes is not None:
        begins, ends = conditions.minutes
        is_night = begins >= ends
        if is_night and minute < ends:
            # After midnight: this is still the night of the day before.
            day = (day - 1) % 7
        elif minute < begins or not (is_night or minute < ends):
            return False
    return not conditions.days or DAYS[day] in conditions.days


def _act(narrowed: Narrowed, policy: Policy, cost_nano: Callable[[Target], int | None]) -> None:
    actions = policy.actions
    for reason, keeps in _filters(actions, cost_nano):
        dropped = [target for target in narrowed.targets if not keeps(target)]
        narrowed.dropped += [Dropped(each, reason, policy=policy.name) for each in dropped]
        narrowed.targets = [target for target in narrowed.targets if target not in dropped]
    narrowed.preferred |= {
        target.id for target in narrowed.targets if _is_named(target, actions.prefer)
    }


Keeps = Callable[[Target], bool]


def _filters(
    actions: Actions, cost_nano: Callable[[Target], int | None]
) -> Iterable[tuple[str, Keeps]]:
    """Why an action drops routes, and which ones it keeps."""
    if actions.pin:
        yield "not_pinned", lambda target: _is_named(target, actions.pin)
    if actions.exclude:
        yield "excluded", lambda target: not _is_named(target, actions.exclude)
    if actions.certified:
        demanded = frozenset(actions.certified)
        yield "not_certified", lambda target: demanded <= target.certified
    most = actions.max_cost_nano
    if most is not None:

        def is_cheap(target: Target) -> bool:
            cost = cost_nano(target)
            return cost is not None and cost <= most

        yield "too_expensive", is_cheap


def _is_named(target: Target, patterns: Iterable[str]) -> bool:
    whole = f"{target.provider_name}/{target.upstream_model}"
    return any(
        fnmatchcase(whole if "/" in pattern else target.provider_name, pattern)
        for pattern in patterns
    )
