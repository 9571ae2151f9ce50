"""What a team is charged for a month, to the last nano-dollar, and how it came to that."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

from django.db.models import Count, Max, Sum

from accounts.models import Team
from usage import reports
from usage.as_of import known
from usage.models import AsOf, PurgeReceipt, UsageAdjustment
from usage.pieces import NoReport
from usage.report_questions import Question
from usage.reports import Report
from usage.snapshots import one_snapshot

MONTH = re.compile(r"(2\d\d\d)-(0[1-9]|1[0-2])")
#: What a correction changes, of what a statement shows.
CHANGED = (
    "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens",
    "reasoning_tokens", "images", "cost_nano", "unpriced",
)  # fmt: skip


class NoSuchMonth(NoReport):
    """What was given is no month."""


class Charge(NamedTuple):
    """What requests of one key for one model were charged."""

    model: str
    key_id: int
    key: str
    sums: dict[str, int]


class Correction(NamedTuple):
    """What was corrected for one reason, in requests of one key for one model."""

    reason: str
    note: str
    model: str
    key_id: int
    key: str
    requests: int
    sums: dict[str, int]


@dataclass(frozen=True, slots=True)
class Statement:
    """The charges and the corrections add up to the total, exactly."""

    team: Team
    month: date
    as_of: AsOf
    question: Question
    charges: list[Charge]
    corrections: list[Correction]
    totals: dict[str, int]
    #: Whether corrections are told apart: after retention they are only in the sums.
    is_itemized: bool

    @property
    def charged_nano(self) -> int:
        return sum(charge.sums["cost_nano"] for charge in self.charges)

    @property
    def corrected_nano(self) -> int:
        return sum(correction.sums["cost_nano"] for correction in self.corrections)

    @property
    def estimated_share(self) -> float:
        """Of the total, what rests on token counts that Courier estimated."""
        total = self.totals["cost_nano"]
        return self.totals["estimated_cost_nano"] / total if total > 0 else 0.0


def month_of(text: str) -> date:
    """The first day of a month such as 2026-10. Raises NoSuchMonth."""
    found = MONTH.fullmatch(text)
    if found is None:
        raise NoSuchMonth(f"{text!r} is no month. Write one such as 2026-10.")
    return date(int(found[1]), int(found[2]), 1)


def statement(team: Team, month: date, as_of: AsOf) -> Statement:
    """The statement of a month in the team's time zone, as it was known then."""
    last = (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    question = Question(("model", "key"), month, last, team.time_zone, {"team": [team.pk]})
    with one_snapshot():
        report = reports.report(question, as_of)
        is_itemized = not _is_purged(month)
        corrections = _corrections(report) if is_itemized else []
    charges = _charges(report, corrections)
    return Statement(team, month, as_of, question, charges, corrections, report.totals, is_itemized)


def _is_purged(month: date) -> bool:
    receipts = PurgeReceipt.objects.filter(kind=PurgeReceipt.Kind.ADJUSTMENTS)
    last: date | None = receipts.aggregate(last=Max("last_day"))["last"]
    # A day in UTC may belong to two months of other time zones.
    return last is not None and last >= month - timedelta(days=1)


def _corrections(report: Report) -> list[Correction]:
    question = report.question
    rows = known(UsageAdjustment.objects.all(), report.as_of).filter(
        team_id__in=question.filters["team"],
        started_at__gte=question.start,
        started_at__lt=question.end,
    )
    names = ("reason", "note", "model", "key_id")
    sums = {f"sum_{name}": Sum(name) for name in CHANGED}
    requests = Count("request_id", distinct=True)
    grouped = rows.order_by().values_list(*names).annotate(requests, Max("key_name"), **sums)
    return sorted((_correction(row) for row in grouped), key=lambda each: each[:4])


def _correction(row: tuple[Any, ...]) -> Correction:
    reason, note, model, key_id, requests, key, *numbers = row
    sums = dict(zip(CHANGED, map(int, numbers), strict=True))
    words = UsageAdjustment.Reason(reason).label
    return Correction(str(words), note, model, key_id, key, requests, sums)


def _charges(report: Report, corrections: Iterable[Correction]) -> list[Charge]:
    """The lines of the report without what the corrections changed in them."""
    changed: dict[tuple[str, int], Counter[str]] = {}
    for each in corrections:
        changed.setdefault((each.model, each.key_id), Counter()).update(each.sums)
    charges = []
    for line in report.lines:
        model, key_id = line.ids
        corrected = changed.get((model, key_id), Counter())
        sums = {name: value - corrected[name] for name, value in line.sums.items()}
        charges.append(Charge(model, key_id, line.names[1], sums))
    return charges
