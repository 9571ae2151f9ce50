"""The requests and their corrections as typed rows, with the columns of the CSV."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.db.models import BooleanField, CharField, DateField, DateTimeField, UUIDField
from django.db.models.fields import Field

from usage.exports import COLUMNS, Rows
from usage.models import UsageAdjustment, UsageRecord
from usage.snapshots import one_snapshot

ROWS_AT_A_TIME = 2_000
#: What is no column of the record.
MADE = {"cost_usd": "money", "kind": "text", "reason": "text", "note": "text"}
_RECORD = {field.attname: field for field in UsageRecord._meta.concrete_fields}
_ADJUSTMENT = {field.attname: field for field in UsageAdjustment._meta.concrete_fields}
OF_RECORDS = [name for name in COLUMNS if name in _RECORD]
OF_ADJUSTMENTS = [name for name in (*COLUMNS, "model") if name in _ADJUSTMENT]


def columns() -> list[tuple[str, str]]:
    """The names with the words that `usage.parquet` has for their types."""
    return [(name, MADE.get(name) or _kind(_RECORD[name])) for name in COLUMNS]


def _kind(field: Field[Any, Any]) -> str:
    match field:
        case BooleanField():
            return "yes or no"
        case DateTimeField():
            return "moment"
        case DateField():
            return "day"
        case UUIDField() | CharField():
            return "text"
    return "number"


def rows(records: Rows, corrections: Rows) -> Iterator[list[Any]]:
    """The requests with the newest first, and then the corrections."""
    with one_snapshot():
        for row in _read(records.order_by("-request_id"), OF_RECORDS):
            yield _ordered(row | {"kind": "request"})
        for row in _read(corrections.order_by("-started_at", "-pk"), OF_ADJUSTMENTS):
            yield _ordered(_as_record(row))


def _read(table: Rows, names: list[str]) -> Iterator[dict[str, Any]]:
    for values in table.values_list(*names).iterator(chunk_size=ROWS_AT_A_TIME):
        yield dict(zip(names, values, strict=True))


def _as_record(row: dict[str, Any]) -> dict[str, Any]:
    """A correction under the names of the record's columns. What it does not change is null."""
    named = {"day": row["started_at"].date(), "model_served": row["model"], "kind": "adjustment"}
    return row | named


def _ordered(row: dict[str, Any]) -> list[Any]:
    nano = row["cost_nano"]
    dollars = None if nano is None else Decimal(nano).scaleb(-9)
    row |= {"request_id": str(row["request_id"]), "cost_usd": dollars}
    return [row.get(name) for name in COLUMNS]
