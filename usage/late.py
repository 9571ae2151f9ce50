"""Requests that were taken for interrupted, and whose own last word came after all."""

from __future__ import annotations

from collections.abc import Sequence

from usage.models import UsageAdjustment, UsageRecord
from usage.rows import Row

INTERRUPTED = "interrupted"
#: What an adjustment corrects by a signed difference.
DIFFERENCES = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "images",
    "cost_nano",
    "provider_cost_nano",
)


def add_late_figures(rows: Sequence[Row], database: str) -> None:
    """Where these rows found an interrupted record in their place, add what it lacks.

    The record itself stays as it is. The identity of the adjustment keeps a replay from
    counting twice.
    """
    closed = {row.request_id: row for row in rows if row.value("outcome") != INTERRUPTED}
    taken = UsageRecord.objects.using(database).filter(pk__in=closed, outcome=INTERRUPTED)
    late = [_adjustment(record, closed[record.request_id]) for record in taken]
    UsageAdjustment.objects.using(database).bulk_create(
        [adjustment for adjustment in late if _says_something(adjustment)], ignore_conflicts=True
    )


def _adjustment(record: UsageRecord, row: Row) -> UsageAdjustment:
    differences = {
        name: (row.value(name) or 0) - (getattr(record, name) or 0) for name in DIFFERENCES
    }
    return UsageAdjustment(
        identity=f"late:{record.request_id}",
        request_id=record.request_id,
        started_at=record.started_at,
        recorded_at=row.value("recorded_at"),
        reason=UsageAdjustment.Reason.LATE_CLOSE,
        note=f"It was not interrupted: it ended as {row.value('outcome')}.",
        key_id=record.key_id,
        key_name=record.key_name,
        team_id=record.team_id,
        team_name=record.team_name,
        user_id=record.user_id,
        user_name=record.user_name,
        model=record.model_served or record.model_asked,
        provider_name=record.provider_name,
        tags=record.tags,
        unpriced=(row.value("cost_nano") is None) - (record.cost_nano is None),
        price_id=row.value("price_id"),
        **differences,
    )


def _says_something(adjustment: UsageAdjustment) -> bool:
    return any(getattr(adjustment, name) for name in (*DIFFERENCES, "unpriced"))
