"""What the front page of the admin shows: figures, providers, and what needs attention."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.conf import settings
from django.db.models import Sum
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone

from accounts import presence
from accounts.models import ApiKey
from lib.money import NANO_PER_DOLLAR
from registry import conditions, key_states
from registry.conditions import Condition, Level
from registry.health import Flow
from registry.models import Provider, ServedModel, UpstreamKey
from usage import backlog, partitions, reconciliation, rollups, today
from usage.models import DailyUsage, Delivery, QuarantinedRecord, Reconciliation
from usage.today import Tried

DAYS = 14
TOP = 5
#: Warnings of one kind that are named one by one; the rest are counted.
NAMED = 3
#: One error in so many requests is too many.
BAD_ONE_IN = 20

Row = Mapping[str, Any]
Name = TypeVar("Name", bound=Hashable)
#: Whether the user at hand has a permission.
May = Callable[[str], bool]


@dataclass(slots=True)
class Sums:
    """What some requests add up to."""

    requests: int = 0
    errors: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0
    #: Of the cost, what rests on estimated usage.
    estimated_cost_nano: int = 0

    @property
    def is_bad(self) -> bool:
        return _is_bad(self.errors, self.requests)

    def add(self, row: Row) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + (row[name] or 0))


@dataclass(frozen=True, slots=True)
class ProviderLine:
    """One provider in the table of their states."""

    provider: Provider
    condition: Condition
    today: Tried
    flow: Flow

    @property
    def is_bad(self) -> bool:
        return _is_bad(self.today.failed, self.today.attempts)

    @property
    def last_error(self) -> str:
        """How it failed last within a minute, in words."""
        return conditions.REASONS.get(self.flow.last_error, self.flow.last_error)


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that a person should look at, and where it is put right."""

    text: str
    link: str
    level: Level = "warning"


@dataclass(frozen=True, slots=True)
class Overview:
    """The front page as far as one user may see it. A section that they may not is None."""

    today: Sums | None = None
    #: What providers charged today for attempts that nobody received.
    wasted_nano: int | None = None
    reconciled: Reconciliation | None = None
    days: dict[str, str] | None = None
    providers: list[ProviderLine] | None = None
    models: list[tuple[str, Sums]] | None = None
    keys: list[tuple[str, Sums]] | None = None
    attention: list[Attention] = field(default_factory=list)

    @property
    def shows_an_outage(self) -> bool:
        return any(line.condition.level == "danger" for line in self.providers or ())


def overview(may: May) -> Overview:
    """Everything on the front page, in a number of queries that does not depend on the data."""
    sees_usage = may("usage.view_usagerecord")
    used = today.so_far() if sees_usage else None
    rows = used.rows if used else None
    shows_keys = may("accounts.view_apikey")
    return Overview(
        today=total(rows) if rows is not None else None,
        wasted_nano=used.wasted_nano if used else None,
        reconciled=reconciliation.latest() if sees_usage else None,
        days=charts(may, rows),
        providers=provider_lines(used) if may("registry.view_provider") else None,
        models=top(rows, lambda row: row["model"]) if rows is not None else None,
        keys=top_keys(rows) if rows is not None and shows_keys else None,
        attention=list(attention(may)),
    )


def _is_bad(failed: int, of: int) -> bool:
    """Whether so many failed that a person should notice."""
    return failed * BAD_ONE_IN > of


def total(rows: Iterable[Row]) -> Sums:
    sums = Sums()
    for row in rows:
        sums.add(row)
    return sums


def by(rows: Iterable[Row], name: Callable[[Row], Name]) -> dict[Name, Sums]:
    """Sums of the rows of each name."""
    groups: dict[Name, Sums] = {}
    for row in rows:
        groups.setdefault(name(row), Sums()).add(row)
    return groups


def top(rows: Iterable[Row], name: Callable[[Row], Name]) -> list[tuple[Name, Sums]]:
    """The names with the most requests, and their sums."""
    groups = by(rows, name).items()
    return sorted(groups, key=lambda group: -group[1].requests)[:TOP]


def top_keys(rows: Iterable[Row]) -> list[tuple[str, Sums]]:
    """The keys with the most requests, by name. Keys of different teams may share one."""
    groups = top(rows, lambda row: (row["key_name"], row["key_id"]))
    return [(name, sums) for (name, _), sums in groups]


def provider_lines(used: today.Today | None) -> list[ProviderLine]:
    """All providers, with those that need attention first."""
    breakers, flows = conditions.breakers(), conditions.flows()
    tried = used.tried if used else {}
    lines = [
        ProviderLine(
            provider,
            conditions.provider_condition(provider, breakers),
            tried.get(provider.name, Tried()),
            flows.get(provider.name, Flow()),
        )
        for provider in conditions.providers()
    ]
    order: list[Level] = ["danger", "warning", "info", "success", "plain"]
    return sorted(lines, key=lambda line: (order.index(line.condition.level), line.provider.name))


def charts(may: May, rows: Iterable[Row] | None) -> dict[str, str] | None:
    """Requests and cost of the last days, today last, as the theme's charts take them."""
    if rows is None or not may("usage.view_dailyusage"):
        return None
    last = timezone.now().date()
    first = last - datetime.timedelta(days=DAYS - 1)
    columns = Sums.__slots__
    past = DailyUsage.objects.filter(day__gte=first, day__lt=last).order_by().values("day")
    days = {first + datetime.timedelta(days=n): Sums() for n in range(DAYS)}
    for day, *sums in past.annotate(
        **{f"sum_of_{name}": Sum(name) for name in columns}
    ).values_list("day", *(f"sum_of_{name}" for name in columns)):
        days[day].add(dict(zip(columns, sums, strict=True)))
    days[last] = total(rows)
    return {"requests": _requests_chart(days), "cost": _cost_chart(days)}


def _requests_chart(days: Mapping[datetime.date, Sums]) -> str:
    answered = [day.requests - day.errors for day in days.values()]
    failed = [day.errors for day in days.values()]
    return _chart(
        days,
        _bars("Answered", answered, "var(--color-primary-500)", ticks=7),
        _bars("Errors", failed, "var(--color-courier-error)", ticks=7),
    )


def _cost_chart(days: Mapping[datetime.date, Sums]) -> str:
    costs = [round(day.cost_nano / NANO_PER_DOLLAR, 4) for day in days.values()]
    return _chart(days, _bars("US dollars", costs, "var(--color-primary-500)", ticks=4))


def _bars(label: str, values: list[int] | list[float], color: str, *, ticks: int) -> dict[str, Any]:
    return {
        "label": label,
        "data": values,
        "backgroundColor": color,
        "stack": "day",
        "borderRadius": 2,
        "borderSkipped": False,
        "maxBarThickness": 28,
        "categoryPercentage": 0.8,
        "barPercentage": 0.8,
        "displayYAxis": True,
        "maxTicksXLimit": ticks,
    }


def _chart(days: Mapping[datetime.date, Sums], *datasets: dict[str, Any]) -> str:
    labels = [f"{day:%b} {day.day}" for day in days]
    return json.dumps({"labels": labels, "datasets": datasets})


def attention(may: May) -> Iterator[Attention]:
    """What should be looked at, the gravest first."""
    for permission, looks in LOOKS.items():
        if may(permission):
            for look in looks:
                yield from look()
    if may("registry.add_provider") and not Provider.objects.exists():
        link = reverse("admin:registry_provider_add")
        yield Attention("No provider yet: add the first.", link, "info")
    if may("accounts.add_apikey") and not ApiKey.objects.exists():
        link = reverse("admin:accounts_apikey_add")
        yield Attention("No API key yet: issue the first.", link, "info")


def _quarantine() -> Iterator[Attention]:
    if count := QuarantinedRecord.objects.count():
        text = f"{count} usage {'record is' if count == 1 else 'records are'} in quarantine."
        yield Attention(text, reverse("admin:usage_quarantinedrecord_changelist"), "danger")


def _spool() -> Iterator[Attention]:
    if waiting := backlog.overdue(settings.SPOOL_DIR):
        text = f"{filesizeformat(waiting)} of usage wait on this machine. Run manage.py ship_spool."
        yield Attention(text, reverse("admin:usage_usagerecord_changelist"), "danger")


def _redis() -> Iterator[Attention]:
    if settings.REDIS_URL and presence.replicas() is None:
        text = "Redis does not answer: rate limits count by share, hard budgets are closed."
        yield Attention(text, reverse("admin:accounts_team_changelist"), "danger")


def _partitions() -> Iterator[Attention]:
    if partitions.has_strays():
        text = "Requests lie in no partition of their own. Is the worker running?"
        yield Attention(text, reverse("admin:usage_usagerecord_changelist"), "warning")


def _sums() -> Iterator[Attention]:
    link = reverse("admin:usage_dailyusage_changelist")
    if trouble := rollups.trouble():
        yield Attention(trouble, link, "danger")
    drift = reconciliation.unsettled()
    if drift and drift.fixed:
        text = f"Sums differed from the log at {drift.at:%H:%M} UTC and were made anew."
        yield Attention(text, link)
    elif drift:
        text = "Sums differ from the log, or Redis from both. Run manage.py reconcile --fix."
        yield Attention(text, link, "danger")


def _keys() -> Iterator[Attention]:
    """A key that is out must not be missed because another does its work."""
    out = list(UpstreamKey.objects.exclude(out_since=None).select_related("provider"))
    link = reverse("admin:registry_upstreamkey_changelist")
    for key in out[:NAMED]:
        why = key_states.condition(key, None).detail
        yield Attention(f"Upstream key “{key}” is out. {why}", link, "danger")
    if len(out) > NAMED:
        yield Attention(f"{len(out) - NAMED} more upstream keys are out.", link, "danger")


def _undelivered() -> Iterator[Attention]:
    if count := Delivery.objects.filter(state=Delivery.State.FAILED).count():
        text = f"{count} {'delivery' if count == 1 else 'deliveries'} of alerts given up."
        link = reverse("admin:usage_alert_changelist") + "?delivery=failed"
        yield Attention(text, link)


def _models() -> Iterator[Attention]:
    enabled = [model for model in conditions.models() if model.enabled]
    if not enabled:
        link = reverse("admin:registry_servedmodel_add")
        yield Attention("No model yet: add the first.", link, "info")
    now = timezone.now()
    lost = [model for model in enabled if not conditions.has_usable_route(model)]
    waiting = conditions.held_back(enabled)
    unpriced = [model for model in enabled if conditions.price_state(model, now) == "unknown"]
    yield from _each(lost, "has no usable route", "danger")
    yield from _each(waiting, "is not served: no route is certified for what it demands", "danger")
    yield from _each(unpriced, "has no price", "warning")


def _each(models: list[ServedModel], trouble: str, level: Level) -> Iterator[Attention]:
    for model in models[:NAMED]:
        link = reverse("admin:registry_servedmodel_change", args=(model.pk,))
        yield Attention(f"Model “{model}” {trouble}.", link, level)
    if len(models) > NAMED:
        link = reverse("admin:registry_servedmodel_changelist")
        yield Attention(f"The same of {len(models) - NAMED} more: {trouble}.", link, level)


#: By the permission that it takes to see them.
LOOKS: dict[str, tuple[Callable[[], Iterator[Attention]], ...]] = {
    "usage.view_quarantinedrecord": (_quarantine,),
    "usage.view_usagerecord": (_spool, _partitions, _sums),
    "usage.view_alert": (_undelivered,),
    "accounts.view_ratelimit": (_redis,),
    "registry.view_upstreamkey": (_keys,),
    "registry.view_servedmodel": (_models,),
}
