"""From spooled records to rows: hostile values are made to fit, column by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import models

from lib.ids import made_at
from usage.models import UsageRecord
from usage.records import Record

#: A count or cost beyond these is a lie, and would one day overflow the sum of a day.
MOST_TOKENS = 10**12
MOST_NANO = 10**13
LIMITS = {
    "PositiveSmallIntegerField": 2**15 - 1,
    "PositiveIntegerField": 2**31 - 1,
    "PositiveBigIntegerField": MOST_TOKENS,
    "ForeignKey": 2**63 - 1,
}
#: What reading a record raises that is not as it should be.
UNREADABLE = (ValueError, TypeError, KeyError, OverflowError)


class Row(NamedTuple):
    """The values of one usage record in the order of `COLUMNS`, and where they come from."""

    values: Sequence[Any]
    raw: bytes


class Refused(NamedTuple):
    """Bytes of the spool that make no row, and why."""

    raw: bytes
    reason: str


class Column(NamedTuple):
    name: str
    fit: Callable[[Any], Any]
    default: Any


def content_of(payload: bytes) -> dict[str, Any]:
    """What a payload tells. Raises ValueError if it is no JSON object."""
    content = orjson.loads(payload[1:])
    if not isinstance(content, dict):
        raise ValueError("The record is not an object.")  # noqa: TRY004  # of data, not of types
    return content


def row_of(payload: bytes, recorded_at: datetime, **known_better: Any) -> Row | Refused:
    """The row of a spooled record, or why there is none."""
    try:
        content = content_of(payload) | known_better
        request_id = UUID(content["request_id"])
        day = made_at(request_id).date()
        told = [fit(content.get(name, default)) for name, fit, default in TOLD]
    except UNREADABLE as error:
        return refused(payload, error)
    return Row((request_id, day, recorded_at, *told), payload)


def refused(payload: bytes, error: Exception) -> Refused:
    return Refused(payload, f"{type(error).__name__}: {error}")


def _text(longest: int) -> Callable[[Any], str]:
    def fit(value: Any) -> str:
        # This comes first because it is nearly always so, and takes no time.
        if type(value) is str and len(value) <= longest and value.isprintable():
            return value
        return str(value).replace("\x00", "\ufffd")[:longest]

    return fit


def _number(largest: int, least: int = 0) -> Callable[[Any], int | None]:
    def fit(value: Any) -> int | None:
        if value is None or (type(value) is int and least <= value <= largest):
            return value
        return min(max(int(value), least), largest)

    return fit


def _fit(field: models.Field[Any, Any]) -> Callable[[Any], Any]:
    kind = type(field).__name__
    if field.max_length:
        return _text(field.max_length)
    if kind == "IntegerField":
        return _number(2**31 - 1, -(2**31))
    if kind in LIMITS:
        return _number(MOST_NANO if field.name.endswith("cost_nano") else LIMITS[kind])
    return bool if kind == "BooleanField" else datetime.fromisoformat


def _told() -> list[Column]:
    """The columns that a spooled record tells; an older version's may leave some out."""
    described = {field.attname: field for field in UsageRecord._meta.concrete_fields}
    return [
        Column(f.name, _fit(described[f.name]), None if f.default is MISSING else f.default)
        for f in fields(Record)
        if f.name != "request_id"
    ]


TOLD = _told()
COLUMNS = ["request_id", "day", "recorded_at", *(column.name for column in TOLD)]
