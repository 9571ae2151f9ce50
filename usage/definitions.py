"""Saved reports: which days they are of, when they are due, and exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone

from usage import as_of, export_files
from usage.as_of import NotSettled
from usage.models import Export, ReportDefinition
from usage.pieces import midnight
from usage.report_questions import Question

DAY = timedelta(days=1)
#: A scheduled report waits so long for requests that end, or are written down, after midnight.
LATE_ROWS = timedelta(hours=1)

Period = ReportDefinition.Period
Schedule = ReportDefinition.Schedule


def question(definition: ReportDefinition, now: datetime | None = None) -> Question:
    """What the report is of, with the days that its period means now."""
    zone = ZoneInfo(definition.time_zone)
    first, last = days(definition, (now or timezone.now()).astimezone(zone).date())
    dimensions = [definition.first_dimension, definition.second_dimension]
    return Question(
        tuple(name for name in dimensions if name),
        first,
        last,
        definition.time_zone,
        {name: values for name, values in sorted(definition.filters.items()) if values},
        definition.currency,
        definition.rate,
    )


def days(definition: ReportDefinition, today: date) -> tuple[date, date]:
    """The first and the last day, both included."""
    if definition.period == Period.FIXED:
        return definition.first_day or today, definition.last_day or today
    return _PERIODS[Period(definition.period)](today)


def _last_month(today: date) -> tuple[date, date]:
    last = today.replace(day=1) - DAY
    return last.replace(day=1), last


_PERIODS: dict[Period, Callable[[date], tuple[date, date]]] = {
    Period.TODAY: lambda today: (today, today),
    Period.YESTERDAY: lambda today: (today - DAY, today - DAY),
    Period.LAST_7_DAYS: lambda today: (today - 7 * DAY, today - DAY),
    Period.LAST_30_DAYS: lambda today: (today - 30 * DAY, today - DAY),
    Period.THIS_MONTH: lambda today: (today.replace(day=1), today),
    Period.LAST_MONTH: _last_month,
}


def run(definition: ReportDefinition, at: datetime | None = None, **more: Any) -> Export:
    """Have the file of a report made, as of a moment. Raises NotSettled."""
    moment = as_of.settle(at)
    return export_files.order(
        kind=Export.Kind.REPORT,
        format=definition.format,
        definition=definition,
        question=question(definition).as_json(),
        as_of=moment.at,
        **more,
    )


def run_due() -> int:
    """Have the scheduled reports made whose time has come. Returns how many those are."""
    try:
        settled = as_of.latest().at
    except NotSettled:
        return 0
    return sum(map(_run_once, _due(settled - LATE_ROWS)))


def _due(settled: datetime) -> Iterator[ReportDefinition]:
    for definition in ReportDefinition.objects.exclude(schedule=Schedule.NEVER):
        since = turn(Schedule(definition.schedule), definition.time_zone, settled)
        if (definition.last_run_at or definition.created_at) < since:
            yield definition


def turn(schedule: Schedule, time_zone: str, now: datetime) -> datetime:
    """When the present day, week or month began in that time zone."""
    zone = ZoneInfo(time_zone)
    today = now.astimezone(zone).date()
    if schedule == Schedule.WEEKLY:
        today -= today.weekday() * DAY
    if schedule == Schedule.MONTHLY:
        today = today.replace(day=1)
    return midnight(today, zone).astimezone(UTC)


@transaction.atomic
def _run_once(definition: ReportDefinition) -> int:
    """Whoever changes `last_run_at` has it made; another that is as late changes nothing."""
    claimed = ReportDefinition.objects.filter(
        pk=definition.pk, last_run_at=definition.last_run_at
    ).update(last_run_at=timezone.now())
    if claimed:
        run(definition, requested_by=definition.created_by, is_scheduled=True)
    return claimed
