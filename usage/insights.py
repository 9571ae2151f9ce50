"""What is always worth a look: where money goes, what was spent for nothing, what is a guess."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Max, QuerySet, Sum

from usage import reports
from usage.models import Alert, AsOf, HourlyAttempts, PurgeReceipt
from usage.pieces import DAY, midnight
from usage.report_questions import Question
from usage.reports import Line, NotKept

TOP = 10
FORESEEN_WITHIN = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Wasted:
    """Upstream attempts whose answer nobody received. Never part of anybody's bill."""

    provider: str
    model: str
    outcome: str
    attempts: int
    cost_nano: int
    #: Of the attempts, those whose cost nobody knows.
    unpriced: int


@dataclass(frozen=True, slots=True)
class Guessed:
    """What of a provider's charges rests on token counts that Courier estimated."""

    provider: str
    requests: int
    estimated: int
    cost_nano: int
    estimated_cost_nano: int

    @property
    def share(self) -> float:
        return self.estimated_cost_nano / self.cost_nano if self.cost_nano > 0 else 0.0


def top_keys(first: date, last: date, as_of: AsOf) -> list[Line]:
    """The keys that were charged the most, with their teams."""
    lines = reports.report(Question(("key", "team"), first, last), as_of).lines
    return sorted(lines, key=lambda line: -line.sums["cost_nano"])[:TOP]


def guessed(first: date, last: date, as_of: AsOf) -> list[Guessed]:
    """By provider, the largest share first. Requests that none answered are left out."""
    names = ("requests", "estimated", "cost_nano", "estimated_cost_nano")
    lines = reports.report(Question(("provider",), first, last), as_of).lines
    told = [
        Guessed(line.names[0], *(line.sums[name] for name in names))
        for line in lines
        if line.names[0]
    ]
    return sorted(told, key=lambda each: (-each.share, each.provider))


def wasted(first: date, last: date) -> list[Wasted]:
    """By provider, model and outcome, the dearest first. Raises NotKept."""
    _check_kept(first)
    start, end = (midnight(day, ZoneInfo("UTC")) for day in (first, last + DAY))
    lost = HourlyAttempts.objects.filter(hour__gte=start, hour__lt=end, received=False)
    names = ("provider_name", "model", "outcome")
    sums = {f"sum_{name}": Sum(name) for name in HourlyAttempts.SUMS}
    rows: QuerySet[Any, Any] = lost.order_by().values_list(*names).annotate(**sums)
    told = [Wasted(*row[:3], *map(int, row[3:])) for row in rows]
    return sorted(told, key=lambda each: (-each.cost_nano, -each.attempts, each.provider))


def _check_kept(first: date) -> None:
    receipts = PurgeReceipt.objects.filter(kind=PurgeReceipt.Kind.HOURLY)
    last: date | None = receipts.aggregate(last=Max("last_day"))["last"]
    if last and first <= last:
        raise NotKept(f"Sums of attempts are kept only since {last}. Choose a later period.")


def running_out(now: datetime) -> list[Alert]:
    """What was foreseen of budgets in the last days, the newest first."""
    told = Alert.objects.filter(kind=Alert.Kind.RUN_OUT, raised_at__gte=now - FORESEEN_WITHIN)
    return list(told.order_by("-raised_at")[:TOP])
