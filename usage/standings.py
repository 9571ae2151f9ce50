"""Where each budget stands: for whom it holds, in which window, and how much of it is used."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.db.models import Prefetch, Q

from accounts.allowances import USERS_TIME_ZONE, budget_rule
from accounts.models import ApiKey, Budget, Team, User
from accounts.periods import FOREVER_US, MICROSECOND, from_us, to_us
from accounts.rules import BudgetRule
from usage import spending
from usage.models import Alert
from usage.money import dollars
from usage.spending import Wanted

PERIODS = {"day": "daily", "week": "weekly", "month": "monthly", "total": "total"}
LENGTHS = {"day": "24 hours", "week": "7 days", "month": "30 days"}


@dataclass(frozen=True, slots=True)
class Holder:
    """A key, team or person that a budget holds for. `scope` is what the ledger calls it."""

    scope: str
    name: str
    time_zone: str = USERS_TIME_ZONE
    team: Team | None = None
    person: User | None = None

    @property
    def kind(self) -> str:
        """`key`, `team` or `user`."""
        return self.scope.partition(":")[0]

    @property
    def id(self) -> int:
        return int(self.scope.partition(":")[2])


def key_holder(key: ApiKey) -> Holder:
    name = f"Key {key.name} of team {key.team.name}"
    return Holder(f"key:{key.pk}", name, key.team.time_zone, key.team, key.owner)


def team_holder(team: Team) -> Holder:
    return Holder(f"team:{team.pk}", f"Team {team.name}", team.time_zone, team)


def user_holder(user: User) -> Holder:
    return Holder(f"user:{user.pk}", f"User {user.get_username()}", person=user)


@dataclass(frozen=True, slots=True)
class Held:
    """A budget, and one of those that it holds for."""

    budget: Budget
    rule: BudgetRule
    holder: Holder

    @property
    def is_rolling(self) -> bool:
        return self.rule.ring.slot_us > 0

    def windows(self, now_us: int, late: timedelta) -> set[int]:
        """The present window, and the calendar window before it if that ended just now."""
        present = self.rule.window_at(now_us)
        if self.is_rolling:
            return {present}
        return {present, self.rule.window_at(now_us - late // MICROSECOND)}


@dataclass(frozen=True, slots=True)
class Standing(Held):
    """One budget of one holder in one window, and what was spent in it."""

    #: As `BudgetRule.window_at` numbers it.
    window: int
    start: datetime
    #: None where it never ends.
    end: datetime | None
    limit_nano: int
    spent_nano: int

    @property
    def length(self) -> timedelta:
        """From its beginning to its end. Not of one that never ends."""
        if self.is_rolling:
            return self.rule.ring.slots * self.rule.ring.slot_us * MICROSECOND
        return (self.end or self.start) - self.start

    @property
    def label(self) -> str:
        """What tells this window from others. A change of the time zone does not change it."""
        if self.is_rolling:
            return "rolling"
        since_us = self.rule.counts_from_us
        if self.budget.period == Budget.Period.TOTAL:
            return f"total+{since_us}" if since_us else "total"
        first = f"{from_us(self.window).astimezone(ZoneInfo(self.rule.time_zone)):%Y-%m-%d}"
        return f"{first}+{since_us}" if since_us > self.window else first

    @property
    def identity(self) -> str:
        """The budget, its holder and its window."""
        return f"{self.budget.pk}:{self.holder.scope}:{self.label}"

    @property
    def words(self) -> str:
        """The budget as a part of a sentence about its holder."""
        if self.is_rolling:
            return f"its budget for {LENGTHS[self.budget.period]}"
        return f"its {PERIODS[self.budget.period]} budget"

    @property
    def since(self) -> str:
        """When the window began, to follow those words."""
        if self.is_rolling or self.budget.period == Budget.Period.TOTAL:
            return ""
        first = from_us(self.window).astimezone(ZoneInfo(self.rule.time_zone))
        return f" that began on {first:%Y-%m-%d}"

    @property
    def used(self) -> str:
        return f"{dollars(self.spent_nano)} of {dollars(self.limit_nano)}"

    def data(self, **more: Any) -> dict[str, Any]:
        """The figures for programs."""
        return {
            "budget": self.budget.pk,
            "scope": self.holder.scope,
            "name": self.holder.name,
            "amount_usd": decimal_dollars(self.limit_nano),
            "spent_usd": decimal_dollars(self.spent_nano),
            "hard": self.budget.hard,
            "period": self.budget.period,
            "window_start": utc(self.start),
            "window_end": utc(self.end) if self.end and not self.is_rolling else None,
            **more,
        }


class Earlier(NamedTuple):
    """What people were told of one budget before, by one kind of alert."""

    in_this_window: list[Alert]
    #: Racing workers find the same, of whom one can use it.
    next_identity: str


def earlier(kind: Alert.Kind, standing: Standing, now: datetime) -> Earlier:
    """The alerts about this window so far. A rolling one tells anew after its length."""
    prefix = f"{kind}:{standing.identity}"
    if not standing.is_rolling:
        told = Alert.objects.filter(Q(identity=prefix) | Q(identity__startswith=f"{prefix}:"))
        return Earlier(list(told), prefix)
    told = Alert.objects.filter(identity__startswith=f"{prefix}:").order_by("-pk")
    newest = told.first()
    recent = told.filter(raised_at__gt=now - standing.length)
    return Earlier(list(recent), f"{prefix}:{newest.pk if newest else 0}")


def decimal_dollars(nano: int) -> str:
    return f"{Decimal(nano).scaleb(-9).normalize():f}"


def utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def standings(
    now: datetime, *, late: timedelta = timedelta(0), scopes: Collection[str] | None = None
) -> list[Standing]:
    """Budgets in their present windows, and in calendar windows that ended so late.

    Of these scopes only, if any are given.
    """
    now_us = to_us(now)
    wanted = [
        (held, window, Wanted(held.holder.scope, *held.rule.span_of(window)))
        for held in _held(scopes)
        for window in held.windows(now_us, late)
    ]
    spent = spending.spent_in([each for _, _, each in wanted])
    return [
        Standing(
            budget=held.budget,
            rule=held.rule,
            holder=held.holder,
            window=window,
            start=each.start,
            end=each.end if to_us(each.end) < FOREVER_US else None,
            limit_nano=held.rule.amount_at(min(now_us, to_us(each.end) - 1)),
            spent_nano=spent[each],
        )
        for held, window, each in wanted
    ]


def _held(scopes: Collection[str] | None) -> Iterator[Held]:
    keys = ApiKey.objects.filter(archived_at=None, revoked_at=None, team__archived_at=None)
    budgets = Budget.objects.all()
    if scopes is not None:
        keys = keys.filter(pk__in=_ids("key", scopes))
        budgets = budgets.filter(
            Q(key__in=_ids("key", scopes))
            | Q(team__in=_ids("team", scopes))
            | Q(user__in=_ids("user", scopes))
            | Q(plan__in=keys.order_by().values("plan"))
        )
    with_all = keys.select_related("team", "owner").prefetch_related("budgets")
    budgets = budgets.select_related("key__team", "key__owner", "team", "user")
    for budget in budgets.prefetch_related("raises", Prefetch("plan__api_keys", with_all)):
        for holder in _holders(budget):
            yield Held(budget, budget_rule(budget, holder.scope, holder.time_zone), holder)


def _ids(kind: str, scopes: Collection[str]) -> list[int]:
    parted = (scope.partition(":") for scope in scopes)
    return [int(number) for its_kind, _, number in parted if its_kind == kind]


def _holders(budget: Budget) -> Iterable[Holder]:
    if budget.team:
        return [] if budget.team.archived_at else [team_holder(budget.team)]
    if budget.user:
        return [user_holder(budget.user)] if budget.user.is_active else []
    if budget.plan:
        return [
            key_holder(key) for key in budget.plan.api_keys.all() if not _has_its_own(key, budget)
        ]
    return [key_holder(budget.key)] if budget.key and _is_open(budget.key) else []


def _has_its_own(key: ApiKey, planned: Budget) -> bool:
    """Whether a budget of the key takes the place of one of its plan."""
    kind = (planned.period, planned.window)
    return any((own.period, own.window) == kind for own in key.budgets.all())


def _is_open(key: ApiKey) -> bool:
    return not (key.archived_at or key.revoked_at or key.team.archived_at)
