"""What belongs to one request beside its record: attempts and adjustments, as tables."""

from __future__ import annotations

from typing import Any

from registry.admin.labels import label
from usage.models import UsageAdjustment, UsageAttempt, UsageRecord
from usage.money import dollars, exact_dollars

ATTEMPTS = ("#", "Provider / model", "Calls", "Outcome", "Tokens in / out", "Cost", "Duration")
ADJUSTMENTS = ("Recorded (UTC)", "Why", "Tokens in / out", "Cost", "Note", "By")


def parts_of(record: UsageRecord) -> dict[str, Any]:
    """The tables of a request, as the theme takes them; None where one would be empty."""
    attempts = UsageAttempt.objects.filter(request_id=record.pk)
    adjustments = list(UsageAdjustment.objects.filter(request_id=record.pk).order_by("id"))
    return {
        "attempts": _table(ATTEMPTS, [_attempt(attempt) for attempt in attempts]),
        "adjustments": _table(ADJUSTMENTS, [_adjustment(entry) for entry in adjustments]),
        "adjusted_cost": exact_dollars(_adjusted(record, adjustments)),
    }


def _table(headers: tuple[str, ...], rows: list[list[Any]]) -> dict[str, Any] | None:
    return {"headers": headers, "rows": rows} if rows else None


def _attempt(attempt: UsageAttempt) -> list[Any]:
    return [
        attempt.number,
        f"{attempt.provider_name} / {attempt.upstream_model}",
        attempt.calls,
        label(attempt.outcome.replace("_", " "), "success" if attempt.received else "danger"),
        f"{attempt.input_tokens:,} / {attempt.output_tokens:,}",
        dollars(attempt.cost_nano) + ("" if attempt.received else ", for nothing"),
        f"{attempt.total_ms:,} ms",
    ]


def _adjustment(entry: UsageAdjustment) -> list[Any]:
    return [
        f"{entry.recorded_at:%Y-%m-%d %H:%M:%S}",
        entry.get_reason_display(),
        f"{entry.input_tokens:+,} / {entry.output_tokens:+,}",
        ("-" if entry.cost_nano < 0 else "+") + exact_dollars(abs(entry.cost_nano)),
        entry.note or "-",
        entry.made_by or "-",
    ]


def _adjusted(record: UsageRecord, adjustments: list[UsageAdjustment]) -> int | None:
    unpriced = (record.cost_nano is None) + sum(entry.unpriced for entry in adjustments)
    if unpriced > 0:
        return None
    return (record.cost_nano or 0) + sum(entry.cost_nano for entry in adjustments)
