"""From records to days. A day is always summed anew, so its sums are exact whatever happened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from django.db import connection, transaction
from django.db.models import Aggregate, Count, F, Max, Q, Sum, Value
from django.db.models.functions import Coalesce, NullIf

from usage.models import FAILED, DailyUsage, UsageRecord

#: Any number, as long as nothing else in the database locks it.
LOCK = 7_232_416
SUMS: dict[str, Aggregate | Coalesce] = {
    # Names may change during a day. Any will do, as long as it is always the same.
    "team_name": Max("team_name"),
    "user_name": Max("user_name"),
    "key_name": Max("key_name"),
    "requests": Count("pk"),
    "errors": Count("pk", filter=FAILED),
    "estimated": Count("pk", filter=Q(usage_source=UsageRecord.Source.ESTIMATED)),
    "unpriced": Count("pk", filter=Q(cost_nano=None)),
    "input_tokens": Sum("input_tokens"),
    "cached_input_tokens": Sum("cached_input_tokens"),
    "cache_write_tokens": Sum("cache_write_tokens"),
    "output_tokens": Sum("output_tokens"),
    "reasoning_tokens": Sum("reasoning_tokens"),
    "cost_nano": Coalesce(Sum("cost_nano"), 0),
}


@transaction.atomic
def roll_up() -> int:
    """Sum anew the days that records were added to. Returns how many days those are."""
    if not _is_the_only_one():
        return 0
    days = _take_stale_days()
    for day in days:
        sum_day(day)
    return len(days)


@transaction.atomic
def sum_day(day: date) -> None:
    """Replace the sums of one day by those of its records."""
    DailyUsage.objects.filter(day=day).delete()
    DailyUsage.objects.bulk_create(
        [DailyUsage(day=day, **sums) for sums in _sums(day)], batch_size=500
    )


def _sums(day: date) -> Iterator[dict[str, Any]]:
    """The fields of each row of a day."""
    by_model = UsageRecord.objects.on(day).annotate(
        sum_model=Coalesce(NullIf("model_served", Value("")), F("model_asked"))
    )
    groups = by_model.order_by().values(
        "team_id", "user_id", "key_id", "sum_model", "provider_name"
    )
    # The prefix keeps them apart from the columns that they sum.
    for group in groups.annotate(**{f"sum_{name}": sum_ for name, sum_ in SUMS.items()}):
        yield {name.removeprefix("sum_"): value for name, value in group.items()}


def _take_stale_days() -> list[date]:
    """Remove the marks that can be seen now, and return their days.

    A record that cannot be seen yet has its mark in the same transaction, so that mark is
    not removed either, and its day is summed again next time.
    """
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM usage_stalehour RETURNING hour")
        return sorted({date.fromisoformat(str(hour)[:10]) for (hour,) in cursor.fetchall()})


def _is_the_only_one() -> bool:
    """Take the lock until the end of the transaction. In SQLite the transaction is the lock."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        (is_ours,) = cursor.fetchone()
        return bool(is_ours)
