"""From spooled records to rows: hostile values are made to fit, column by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import models

from lib.ids import made_at
from usage.models import Decision, UsageAttempt, UsageRecord
from usage.records import Attempt, Record, Refusal

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


class Refused(NamedTuple):
    """Bytes of the spool that make no row, and why."""

    raw: bytes
    reason: str


class Row(NamedTuple):
    """The values of one usage record in the order of `COLUMNS`, and where they come from."""

    values: Sequence[Any]
    raw: bytes
    #: Its attempts, whose values are in the order of `ATTEMPT_COLUMNS`.
    attempts: Sequence[Row] = ()
    #: Why it went as it did, if that was told: values in the order of `DECISION_COLUMNS`.
    decision: Row | None = None
    #: Attempts and decisions that make no row. The record is none the worse for it.
    refused: Sequence[Refused] = ()

    @property
    def request_id(self) -> UUID:
        request_id: UUID = self.values[0]
        return request_id

    def value(self, column: str) -> Any:
        return self.values[POSITIONS[column]]

    def with_value(self, column: str, value: Any) -> Row:
        at = POSITIONS[column]
        return self._replace(values=(*self.values[:at], value, *self.values[at + 1 :]))


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
    row = Row((request_id, day, recorded_at, *told), payload)
    if content.get("tries"):
        row = _with_attempts(row, content["tries"])
    return _with_decision(row, content) if content.get("decision") else row


def decision_of(payload: bytes, recorded_at: datetime) -> Row | Refused:
    """The row of a request that was refused before it was admitted, or why there is none."""
    try:
        content = content_of(payload)
        return _decision_row(UUID(content["request_id"]), recorded_at, content, payload)
    except UNREADABLE as error:
        return refused(payload, error)


def _with_decision(row: Row, content: dict[str, Any]) -> Row:
    told = {"decision": content["decision"]}
    raw = b"D" + orjson.dumps({"request_id": row.request_id, **told})
    try:
        decision = _decision_row(row.request_id, row.value("recorded_at"), told, raw)
    except UNREADABLE as error:
        return row._replace(refused=[*row.refused, refused(raw, error)])
    return row._replace(decision=decision)


def _decision_row(
    request_id: UUID, recorded_at: datetime, content: dict[str, Any], raw: bytes
) -> Row:
    decision = content["decision"]
    if not isinstance(decision, dict):
        raise ValueError("The decision is not an object.")  # noqa: TRY004  # of data, not of types
    told = [fit(content.get(name, default)) for name, fit, default in TOLD_OF_REFUSALS]
    return Row((request_id, recorded_at, orjson.dumps(decision).decode(), *told), raw)


def _with_attempts(row: Row, tries: Any) -> Row:
    told = tries if isinstance(tries, list) else [tries]
    made = [_attempt_of(row, number, content) for number, content in enumerate(told, 1)]
    return row._replace(
        attempts=[attempt for attempt in made if isinstance(attempt, Row)],
        refused=[attempt for attempt in made if isinstance(attempt, Refused)],
    )


def _attempt_of(row: Row, number: int, content: Any) -> Row | Refused:
    raw = b"A" + orjson.dumps({"request_id": row.request_id, "number": number, "told": content})
    try:
        told = [fit(content.get(name, default)) for name, fit, default in TOLD_OF_ATTEMPTS]
    except (*UNREADABLE, AttributeError) as error:
        return refused(raw, error)
    return Row((row.request_id, number, *map(row.value, ATTEMPT_SHARES), *told), raw)


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


def _told(kind: type[Record | Attempt | Refusal], model: type[models.Model]) -> list[Column]:
    """The columns that a spooled record tells; an older version's may leave some out."""
    described = {field.attname: field for field in model._meta.concrete_fields}
    return [
        Column(f.name, _fit(described[f.name]), _default(f, described[f.name]))
        for f in fields(kind)
        if f.name in described and f.name != "request_id"
    ]


def _default(told: Field[Any], described: models.Field[Any, Any]) -> Any:
    if told.default is not MISSING:
        return told.default
    return described.default if described.has_default() else None


TOLD = _told(Record, UsageRecord)
COLUMNS = ["request_id", "day", "recorded_at", *(column.name for column in TOLD)]
POSITIONS = {name: position for position, name in enumerate(COLUMNS)}
TOLD_OF_ATTEMPTS = _told(Attempt, UsageAttempt)
#: What an attempt has of its record.
ATTEMPT_SHARES = ["recorded_at", "key_id", "team_id", "model_served"]
ATTEMPT_COLUMNS = [
    "request_id",
    "number",
    *ATTEMPT_SHARES,
    *(column.name for column in TOLD_OF_ATTEMPTS),
]
TOLD_OF_REFUSALS = _told(Refusal, Decision)
DECISION_COLUMNS = [
    "request_id",
    "recorded_at",
    "told",
    *(column.name for column in TOLD_OF_REFUSALS),
]
