"""What each row of the log adds to each table of sums: written once, as SQL for both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models
from django.db.models import Max

from lib.ids import made_at
from usage.models import (
    DailyTagUsage,
    DailyUsage,
    HourlyAttempts,
    HourlyTagUsage,
    HourlyUsage,
    Measures,
    PurgeReceipt,
    UsageAdjustment,
    UsageAttempt,
    UsageRecord,
)
from usage.models.records import ANSWERED

Table = type[models.Model]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
#: What retention removes of which sums are made.
OF_THE_LOG = (
    PurgeReceipt.Kind.RECORDS,
    PurgeReceipt.Kind.ATTEMPTS,
    PurgeReceipt.Kind.ADJUSTMENTS,
)
#: Later than all that is in the log.
END = datetime(9999, 1, 1, tzinfo=UTC)


def columns(model: Table, names: tuple[str, ...]) -> list[str]:
    """The columns of these fields."""
    found = {field.name: field.column for field in model._meta.concrete_fields}
    return [str(found[name]) for name in names]


def log_begins_at() -> datetime:
    """The first midnight from which the log tells all there was; END if it is empty.

    Sums outlive the records that they are made of: earlier ones cannot be made anew.
    """
    oldest = UsageRecord.objects.order_by("request_id").values_list("request_id", flat=True).first()
    if oldest is None:
        return END
    purged = PurgeReceipt.objects.filter(kind__in=OF_THE_LOG).aggregate(last=Max("last_day"))
    midnight = midnight_before(oldest)
    return max(midnight, midnight_of(purged["last"]) + DAY) if purged["last"] else midnight


def midnight_before(request_id: UUID) -> datetime:
    return midnight_of(made_at(request_id).date())


def midnight_of(day: date) -> datetime:
    """The beginning of a day, in UTC."""
    return datetime.combine(day, time(), UTC)


def table_of(model: Table) -> str:
    return model._meta.db_table


KEYS = columns(HourlyUsage, HourlyUsage.KEYS)
NAMES = list(HourlyUsage.NAMES)
SUMS = list(Measures.SUMS)
ATTEMPT_KEYS = columns(HourlyAttempts, HourlyAttempts.KEYS)
ATTEMPT_SUMS = list(HourlyAttempts.SUMS)

_ESTIMATED = f"usage_source = '{UsageRecord.Source.ESTIMATED}'"
#: Whether a request, or an attempt, came to no good end.
FAILED = f"outcome NOT IN ({', '.join(repr(outcome) for outcome in ANSWERED)})"
#: How a record tells what its columns do not say as they are.
_OF_RECORD = {
    "model": "COALESCE(NULLIF(model_served, ''), model_asked)",
    "requests": "1",
    "errors": f"CASE WHEN {FAILED} THEN 1 ELSE 0 END",
    "estimated": f"CASE WHEN {_ESTIMATED} THEN 1 ELSE 0 END",
    "unpriced": "CASE WHEN cost_nano IS NULL THEN 1 ELSE 0 END",
    "cost_nano": "COALESCE(cost_nano, 0)",
    "estimated_cost_nano": f"CASE WHEN {_ESTIMATED} THEN COALESCE(cost_nano, 0) ELSE 0 END",
    "provider_cost_nano": "COALESCE(provider_cost_nano, 0)",
}
#: A correction changes figures; the request remains one, and as good or bad as it was.
_OF_ADJUSTMENT = {"requests": "0", "errors": "0", "estimated": "0", "estimated_cost_nano": "0"}
_OF_ATTEMPT = {
    "model": "model_served",
    "attempts": "1",
    "cost_nano": "COALESCE(cost_nano, 0)",
    "unpriced": "CASE WHEN cost_nano IS NULL THEN 1 ELSE 0 END",
}


def _select(model: Table, told: dict[str, str], names: list[str], where: str) -> str:
    values = ", ".join(f"{told[name]} AS {name}" if name in told else name for name in names)
    return f"SELECT {values} FROM {table_of(model)} WHERE {where}"  # noqa: S608  # constants


def events(where: str) -> str:
    """Records and adjustments in one form: what bills and sums are made of."""
    names = ["request_id", "tags", *KEYS, *NAMES, *SUMS]
    records = _select(UsageRecord, _OF_RECORD, names, where)
    adjustments = _select(UsageAdjustment, _OF_ADJUSTMENT, names, where)
    return f"{records} UNION ALL {adjustments}"


def attempts(where: str) -> str:
    return _select(UsageAttempt, _OF_ATTEMPT, ["request_id", *ATTEMPT_KEYS, *ATTEMPT_SUMS], where)


class Sheet(NamedTuple):
    """One table of sums: what tells its rows apart, what is summed, and over what period."""

    model: Table
    #: The column `hour` or `day`.
    period: str
    keys: list[str]
    #: Any of the names in a period will do, as long as it is always the same.
    names: list[str]
    sums: list[str]

    @property
    def table(self) -> str:
        return table_of(self.model)

    @property
    def has_tags(self) -> bool:
        return "tag" in self.keys

    @property
    def columns(self) -> list[str]:
        return [self.period, *self.keys, *self.names, *self.sums]

    def rows(self, start: datetime, end: datetime) -> models.QuerySet[Any]:
        """Its rows from `start` up to `end`: hours, or the days that both are midnights of."""
        first, behind = (start, end) if self.period == "hour" else (start.date(), end.date())
        span = {f"{self.period}__gte": first, f"{self.period}__lt": behind}
        return self.model._default_manager.filter(**span)

    def summed(self, period: str, source: str) -> str:
        """The rows that `source`, which has the same columns, adds up to."""
        values = [f"{period} AS {self.period}", *self.keys]
        values += [f"MAX({name})" for name in self.names]
        values += [f"CAST(SUM({name}) AS bigint)" for name in self.sums]
        groups = ", ".join(["1", *self.keys])
        return f"SELECT {', '.join(values)} FROM {source} GROUP BY {groups}"  # noqa: S608

    def insert(self, rows: str) -> str:
        return f"INSERT INTO {self.table} AS held ({', '.join(self.columns)}) {rows}"

    @property
    def add(self) -> str:
        """The end of an insert that adds to rows that are there already. Only on PostgreSQL."""
        target = ", ".join([self.period, *self.keys])
        names = [f"{name} = GREATEST(held.{name}, excluded.{name})" for name in self.names]
        sums = [f"{name} = held.{name} + excluded.{name}" for name in self.sums]
        return f"ON CONFLICT ({target}) DO UPDATE SET {', '.join(names + sums)}"


HOURLY = Sheet(HourlyUsage, "hour", KEYS, NAMES, SUMS)
DAILY = Sheet(DailyUsage, "day", KEYS, NAMES, SUMS)
HOURLY_TAGS = Sheet(HourlyTagUsage, "hour", [*KEYS, "tag"], NAMES, SUMS)
DAILY_TAGS = Sheet(DailyTagUsage, "day", [*KEYS, "tag"], NAMES, SUMS)
ATTEMPTS = Sheet(HourlyAttempts, "hour", ATTEMPT_KEYS, [], ATTEMPT_SUMS)
SHEETS = (HOURLY, DAILY, HOURLY_TAGS, DAILY_TAGS, ATTEMPTS)
