"""Whether the log and its sums say the same; if not, who differs, and the sums made anew."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from django.utils import timezone

from usage import rollups, sums
from usage.alerts import raise_alert
from usage.models import Alert, PurgeReceipt, Reconciliation
from usage.money import dollars
from usage.sums import DAILY, DAY, HOUR, HOURLY, SHEETS, Sheet, midnight_of

logger = logging.getLogger(__name__)

#: Results that are remembered.
KEPT = 1000
#: Findings that are told one by one; the rest are counted.
TOLD = 50
LATELY = timedelta(hours=2)
#: How long people are told of a difference.
ATTENTION = timedelta(days=1)
#: Records come up to two days late.
CLOSED_DAYS = 3

#: What tells one row of a sheet from another, and its sums.
Rows = dict[tuple[Any, ...], tuple[int, ...]]


class Figures(NamedTuple):
    """What people compare."""

    requests: int
    tokens: int
    cost_nano: int

    def __str__(self) -> str:
        return f"{self.requests:,} requests, {self.tokens:,} tokens, {dollars(self.cost_nano)}"


class Finding(NamedTuple):
    """One row of the sums that is not what the log says."""

    text: str
    drift_nano: int


@dataclass(slots=True)
class Comparison:
    """What the log and the sums say of one day, or of some hours of it."""

    day: date
    #: By table of sums: what they should say by the log, and what they do.
    logged: dict[str, Figures] = field(default_factory=dict)
    summed: dict[str, Figures] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def log(self) -> Figures:
        return self.logged.get(DAILY.table) or self.logged[HOURLY.table]


def days_of_the_log() -> list[date]:
    """All days that can be compared, the oldest first."""
    first, today = sums.log_begins_at().date(), timezone.now().astimezone(UTC).date()
    return [first + n * DAY for n in range((today - first).days + 1)]


def compare_day(day: date) -> Comparison:
    """Compare all sums of a day with its log, in one snapshot."""
    start = midnight_of(day)
    hours = [start + n * HOUR for n in range(24)]
    comparison = Comparison(day)
    with rollups.way().snapshot() as upto:
        for sheet in _kept(day):
            for at in [start] if sheet.period == "day" else hours:
                _compare(comparison, sheet, at, upto)
    return comparison


def compare_lately() -> list[Comparison]:
    """Compare the sums of the last hours with their log."""
    this_hour = timezone.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - LATELY + n * HOUR for n in range(LATELY // HOUR + 1)]
    comparisons = {hour.date(): Comparison(hour.date()) for hour in hours}
    with rollups.way().snapshot() as upto:
        for sheet in HOURLY_SHEETS:
            for hour in hours:
                _compare(comparisons[hour.date()], sheet, hour, upto)
    return list(comparisons.values())


def compare_closed_days() -> list[Comparison]:
    """Compare the days that ended lately."""
    today = timezone.now().astimezone(UTC).date()
    return [compare_day(day) for day in days_of_the_log()[-CLOSED_DAYS - 1 :] if day < today]


def watch_over(compare: Callable[[], Sequence[Comparison]]) -> Reconciliation | None:
    """Compare; if anything differs, make its day anew and tell people. None: there was nothing."""
    started = time.monotonic()
    comparisons = compare()
    if not comparisons:
        return None
    fixed = differ(comparisons) and make_anew(comparisons)
    result = store(comparisons, fixed=fixed, took_s=time.monotonic() - started)
    if differ(comparisons):
        _tell(result)
    return result


def differ(comparisons: Iterable[Comparison]) -> bool:
    return any(comparison.findings for comparison in comparisons)


def make_anew(comparisons: Iterable[Comparison]) -> bool:
    """Replace the sums of all days that differ. Returns whether they agree now."""
    days = [comparison.day for comparison in comparisons if comparison.findings]
    for day in days:
        rollups.make_anew(midnight_of(day), midnight_of(day) + DAY)
    return not differ(map(compare_day, days))


def store(
    comparisons: Sequence[Comparison], *, fixed: bool, took_s: float, budgets: Sequence[str] = ()
) -> Reconciliation:
    """Remember a result, and forget the oldest."""
    found = [finding for comparison in comparisons for finding in comparison.findings]
    lines = [finding.text for finding in found[:TOLD]]
    if len(found) > TOLD:
        lines.append(f"{len(found) - TOLD} more.")
    days = [comparison.day for comparison in comparisons]
    result = Reconciliation.objects.create(
        first_day=min(days),
        last_day=max(days),
        whole_days=all(DAILY.table in comparison.logged for comparison in comparisons),
        differs=bool(found or budgets),
        findings={"ledger": lines, "budgets": list(budgets)},
        drift_nano=max((finding.drift_nano for finding in found), default=0),
        fixed=fixed,
        took_ms=round(took_s * 1000),
    )
    newest = Reconciliation.objects.order_by("-pk").values_list("pk", flat=True)[:KEPT]
    Reconciliation.objects.filter(pk__lt=min(newest)).delete()
    return result


def latest() -> Reconciliation | None:
    return Reconciliation.objects.order_by("-pk").first()


def unsettled() -> Reconciliation | None:
    """The last result that a person should know of: a day old at most, and not settled since."""
    since = timezone.now() - ATTENTION
    found = Reconciliation.objects.filter(at__gte=since, differs=True).order_by("-pk").first()
    if found is None or found.fixed:
        return found
    later = Reconciliation.objects.filter(
        pk__gt=found.pk,
        first_day__lte=found.first_day,
        last_day__gte=found.last_day,
        whole_days=True,
        differs=False,
    )
    return None if later.exists() else found


HOURLY_SHEETS = [sheet for sheet in SHEETS if sheet.period == "hour"]


def _kept(day: date) -> list[Sheet]:
    """The sheets that still have that day."""
    purged = PurgeReceipt.objects.filter(
        kind=PurgeReceipt.Kind.HOURLY, first_day__lte=day, last_day__gte=day
    )
    if purged.exists():
        return [sheet for sheet in SHEETS if sheet.period == "day"]
    return list(SHEETS)


def _compare(comparison: Comparison, sheet: Sheet, at: datetime, upto: int) -> None:
    """Compare one hour or day of one sheet."""
    end = at + (HOUR if sheet.period == "hour" else DAY)
    logged = _by_keys(sheet, rollups.way().told(sheet, at, end, upto))
    summed = _by_keys(sheet, sheet.rows(at, end).values_list(*sheet.columns))
    for of, rows in ((comparison.logged, logged), (comparison.summed, summed)):
        if sheet in (HOURLY, DAILY):
            of[sheet.table] = _added(of.get(sheet.table), sheet, rows)
    comparison.findings.extend(_findings(sheet, at, logged, summed))


def _by_keys(sheet: Sheet, rows: Iterable[tuple[Any, ...]]) -> Rows:
    keys, figures = slice(1, 1 + len(sheet.keys)), slice(-len(sheet.sums), None)
    return {row[keys]: row[figures] for row in rows}


def _added(so_far: Figures | None, sheet: Sheet, rows: Rows) -> Figures:
    total = so_far or Figures(0, 0, 0)
    for row in rows.values():
        figures = dict(zip(sheet.sums, row, strict=True))
        tokens = figures["input_tokens"] + figures["output_tokens"]
        total = Figures(
            total.requests + figures["requests"],
            total.tokens + tokens,
            total.cost_nano + figures["cost_nano"],
        )
    return total


def _findings(sheet: Sheet, at: datetime, logged: Rows, summed: Rows) -> Iterator[Finding]:
    nothing = (0,) * len(sheet.sums)
    for keys in sorted(logged.keys() | summed.keys(), key=repr):
        said, held = logged.get(keys, nothing), summed.get(keys, nothing)
        if said != held:
            yield _finding(sheet, at, keys, said, held)


def _finding(
    sheet: Sheet, at: datetime, keys: tuple[Any, ...], said: Sequence[int], held: Sequence[int]
) -> Finding:
    who = ", ".join(f"{name} {key}" for name, key in zip(sheet.keys, keys, strict=True))
    differing = [
        f"{name} {ought:,} by the log and {has:,} in the sums"
        for name, ought, has in zip(sheet.sums, said, held, strict=True)
        if ought != has
    ]
    when = f"{at:%Y-%m-%d %H:%M}" if sheet.period == "hour" else f"{at:%Y-%m-%d}"
    cost = sheet.sums.index("cost_nano")
    text = f"{sheet.model._meta.verbose_name} of {when}, {who}: {'; '.join(differing)}."
    return Finding(text, abs(said[cost] - held[cost]))


def _tell(result: Reconciliation) -> None:
    lines = result.findings["ledger"]
    logger.error("%d sums were not those of the log", len(lines))
    what = "They were made anew." if result.fixed else "They still are. Run manage.py reconcile."
    raise_alert(
        Alert.Kind.DRIFT,
        f"drift:{result.pk}",
        f"The sums of {result.first_day} to {result.last_day} were not those of the log. {what}",
        {"findings": lines[:TOLD], "drift_nano": result.drift_nano, "fixed": result.fixed},
    )
