"""What was spent, exactly, as the ledger says right now: sums where they serve, else the log.

Whole days and hours come from the sums. The log tells the edges of a span, and what has not
been rolled up yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Sum

from lib.ids import lowest_at
from usage import transaction_window
from usage.models import (
    DailyUsage,
    HourlyUsage,
    StaleHour,
    UsageAdjustment,
    UsageAttempt,
    UsageRecord,
)
from usage.sums import DAY, HOUR, midnight_of

HOLDERS = {"key": "key_id", "team": "team_id", "user": "user_id"}
#: An upstream key: not what was charged counts, but what its provider charges for attempts.
UPSTREAM = "upstream"


class Span(NamedTuple):
    """A time from `start` up to `end`, all of it in one slot."""

    start: datetime
    end: datetime
    slot: int


class Wanted(NamedTuple):
    """What a scope was charged from `start` up to `end`."""

    scope: str
    start: datetime
    end: datetime


class Parts(NamedTuple):
    """Where to look for which part of some slots."""

    days: list[Span]
    hours: list[Span]
    #: Only the log tells these.
    pieces: list[Span]


def spent_nano(scope: str, start: datetime, end: datetime) -> int:
    """What `key:7`, `team:3` or `user:2` was charged for requests from `start` up to `end`.

    Of `upstream:5`, an upstream key: what the provider charges for attempts made with it.
    """
    return spent_by_all([scope], start, end)[scope]


def spent_by_all(scopes: Sequence[str], start: datetime, end: datetime) -> dict[str, int]:
    """What each of many was charged from `start` up to `end`."""
    return {scope: sum(slots) for scope, slots in _spent(scopes, [start, end]).items()}


def spent_in(wanted: Sequence[Wanted]) -> dict[Wanted, int]:
    """What each was charged in its own time. As few queries for many times as for one."""
    spans = {(each.start, each.end) for each in wanted}
    slots = [Span(start, end, slot) for slot, (start, end) in enumerate(spans)]
    slot_of = {(slot.start, slot.end): slot.slot for slot in slots}
    spent = dict.fromkeys(wanted, 0)
    for kind in {_parsed(each.scope)[0] for each in wanted}:
        pairs = {
            (number, slot_of[each.start, each.end]): each
            for each in wanted
            for its, number in [_parsed(each.scope)]
            if its == kind
        }
        for number, slot, cost_nano in _told_of_pairs(kind, list(pairs), slots):
            spent[pairs[number, slot]] = cost_nano
    return spent


def spent_by_slot(
    scopes: Sequence[str], start: datetime, end: datetime, slot_s: int
) -> dict[str, list[int]]:
    """The same for each so many seconds from `start` on. The last slot ends with `end`."""
    count = -((start - end) // timedelta(seconds=slot_s))
    bounds = [start + n * timedelta(seconds=slot_s) for n in range(count)]
    return _spent(scopes, [*bounds, end])


def _spent(scopes: Sequence[str], bounds: list[datetime]) -> dict[str, list[int]]:
    spent = {scope: [0] * (len(bounds) - 1) for scope in scopes}
    slots = [Span(*span) for span in zip(bounds, bounds[1:], range(len(bounds)), strict=False)]
    for kind in {_parsed(scope)[0] for scope in scopes}:
        ids = [number for scope in scopes for its, number in [_parsed(scope)] if its == kind]
        for number, slot, cost_nano in _told(kind, ids, slots):
            spent[f"{kind}:{number}"][slot] = cost_nano
    return spent


def _parsed(scope: str) -> tuple[str, int]:
    kind, _, number = scope.partition(":")
    if kind not in HOLDERS and kind != UPSTREAM:
        raise ValueError(f"{scope} is no scope: use key:7, team:3, user:2 or upstream:5.")
    return kind, int(number)


def _told(kind: str, ids: list[int], slots: list[Span]) -> list[tuple[int, int, int]]:
    if kind == UPSTREAM:
        return _told_of_attempts(ids, slots)
    if connection.vendor == "postgresql":
        return _told_by_postgresql(ON_POSTGRESQL[kind], {"ids": ids}, slots)
    return _told_by_sqlite(ON_SQLITE[kind], {"ids": json.dumps(ids)}, slots)


def _told_of_attempts(ids: list[int], slots: list[Span]) -> list[tuple[int, int, int]]:
    told: list[tuple[int, int, int]] = []
    for start, end, slot in slots:
        attempts = UsageAttempt.objects.filter(
            upstream_key__in=ids, request_id__gte=lowest_at(start), request_id__lt=lowest_at(end)
        )
        by_key = attempts.order_by().values_list("upstream_key").annotate(spent=Sum("cost_nano"))
        told += [(key_id, slot, int(nano or 0)) for key_id, nano in by_key]
    return told


def _told_of_pairs(
    kind: str, pairs: list[tuple[int, int]], slots: list[Span]
) -> list[tuple[int, int, int]]:
    """Of pairs of an id and a slot. Slots may overlap."""
    if connection.vendor == "postgresql":
        ids, theirs = [number for number, _ in pairs], [slot for _, slot in pairs]
        return _told_by_postgresql(PAIRS_ON_POSTGRESQL[kind], {"ids": ids, "slots": theirs}, slots)
    return _told_by_sqlite(PAIRS_ON_SQLITE[kind], {"pairs": json.dumps(pairs)}, slots)


def _told_by_postgresql(
    statement: str, whose: dict[str, Any], slots: list[Span]
) -> list[tuple[int, int, int]]:
    def read(upto: int) -> list[tuple[int, int, int]]:
        parts = _cut(slots) if upto else Parts([], [], slots)
        return _fetch(statement, {**whose, "upto": str(upto), **_arrays(parts)})

    return transaction_window.consistently(read)


@transaction.atomic
def _told_by_sqlite(
    statement: str, whose: dict[str, Any], slots: list[Span]
) -> list[tuple[int, int, int]]:
    stale = set(StaleHour.objects.values_list("hour", flat=True))
    return _fetch(statement, {**whose, **_lists(_without_stale(_cut(slots), stale))})


def _fetch(statement: str, told: dict[str, Any]) -> list[tuple[int, int, int]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, told)
        return [(number, slot, int(cost_nano)) for number, slot, cost_nano in cursor.fetchall()]


def _cut(slots: Iterable[Span]) -> Parts:
    """Whole days, whole hours of other days, and pieces of hours."""
    parts = Parts([], [], [])
    for slot in slots:
        middle = _whole(slot, _hour_before, HOUR)
        parts.pieces.extend(_around(slot, middle))
        if middle:
            days = _whole(middle, _midnight_before, DAY)
            parts.hours.extend(_around(middle, days))
            parts.days.extend([days] if days else [])
    return parts


def _whole(span: Span, before: Callable[[datetime], datetime], unit: timedelta) -> Span | None:
    """The whole hours or days in it."""
    start, end = before(span.start), before(span.end)
    start = start if start == span.start else start + unit
    return Span(start, end, span.slot) if start < end else None


def _around(span: Span, middle: Span | None) -> Iterator[Span]:
    """What is left of it without its middle."""
    if middle is None:
        yield span
        return
    if span.start < middle.start:
        yield Span(span.start, middle.start, span.slot)
    if middle.end < span.end:
        yield Span(middle.end, span.end, span.slot)


def _hour_before(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _midnight_before(moment: datetime) -> datetime:
    return midnight_of(moment.astimezone(UTC).date())


def _without_stale(parts: Parts, stale: set[datetime]) -> Parts:
    """The same with the log in place of the sums of stale hours, and of the days they are in."""
    hours: list[Span] = []
    pieces = list(parts.pieces)
    for span in parts.days + parts.hours:
        start = span.start
        for hour in sorted(hour for hour in stale if span.start <= hour < span.end):
            hours.append(Span(start, hour, span.slot))
            pieces.append(Span(hour, hour + HOUR, span.slot))
            start = hour + HOUR
        hours.append(Span(start, span.end, span.slot))
    return Parts([], hours, pieces)


def _arrays(parts: Parts) -> dict[str, list[Any]]:
    """The spans as PostgreSQL takes them: a column each, the earliest first."""
    ids = [(lowest_at(a), lowest_at(b), slot) for a, b, slot in parts.pieces]
    summed = [(lowest_at(a), lowest_at(b), slot) for a, b, slot in parts.days + parts.hours]
    days = [(a.date(), b.date(), slot) for a, b, slot in parts.days]
    spans: dict[str, list[Any]] = {
        "days": days,
        "hours": parts.hours,
        "pieces": ids,
        "summed": summed,
    }
    return {
        f"{name}_{column}": [row[index] for row in sorted(rows)]
        for name, rows in spans.items()
        for index, column in enumerate(("start", "end", "slot"))
    }


def _lists(parts: Parts) -> dict[str, str]:
    """The spans as SQLite takes them: as JSON."""
    stored = connection.ops.adapt_datetimefield_value
    ids = [(lowest_at(a).hex, lowest_at(b).hex, slot) for a, b, slot in parts.pieces]
    hours = [(stored(a), stored(b), slot) for a, b, slot in parts.hours]
    return {"hours": json.dumps(hours), "pieces": json.dumps(ids)}


def _arrays_of(name: str, kind: str) -> str:
    lists = ", ".join(
        f"%({name}_{column})s::{kind_of}[]"
        for column, kind_of in (("start", kind), ("end", kind), ("slot", "int"))
    )
    return f'unnest({lists}) AS span("start", "end", slot)'


def _json_of(name: str) -> str:
    values = ", ".join(
        f"json_extract(value, '$[{index}]') AS {column}"
        for index, column in enumerate(('"start"', '"end"', "slot"))
    )
    return f"(SELECT {values} FROM json_each(%({name})s)) AS span"  # noqa: S608  # constants


def _of_each(spans: str, pairs: str) -> str:
    """Each span as often as it has ids, with one of them."""
    return (
        f"(SELECT span.*, whose.id FROM {spans} "  # noqa: S608  # constants
        f"JOIN {pairs} ON whose.slot = span.slot) AS span"
    )


def _statement(column: str, selects: Iterable[str]) -> str:
    """The sums of one kind of scope, by slot."""
    parts = " UNION ALL ".join(select.format(column=column) for select in selects)
    return f"SELECT id, slot, SUM(COALESCE(cost_nano, 0)) FROM ({parts}) AS part GROUP BY id, slot"  # noqa: S608


def _joined(spans: str, table: str, moment: str, among: str) -> str:
    """Each span looked up by itself: for short ones, far from one another."""
    return (
        f"SELECT held.{{column}} AS id, span.slot, held.cost_nano FROM {spans} "  # noqa: S608
        f'JOIN {table} AS held ON held.{moment} >= span."start" AND held.{moment} < span."end" '
        f"WHERE held.{{column}} {among}"
    )


def _swept(name: str, kind: str, table: str, moment: str, more: str = "") -> str:
    """All of the time in one go, each row to its span: for long ones, side by side."""
    starts = f"%({name}_start)s::{kind}[]"
    ends = f"%({name}_end)s::{kind}[]"
    at = f"width_bucket(held.{moment}, {starts})"
    return (
        f"SELECT held.{{column}} AS id, (%({name}_slot)s::int[])[{at}] AS slot, held.cost_nano "  # noqa: S608
        f"FROM {table} AS held WHERE held.{{column}} = ANY(%(ids)s) "
        f"AND held.{moment} >= ({starts})[1] AND held.{moment} < ({ends})[cardinality({ends})] "
        f"AND held.{moment} < ({ends})[{at}]{more}"
    )


_DAYS, _HOURS = DailyUsage._meta.db_table, HourlyUsage._meta.db_table
_LOG = (UsageRecord._meta.db_table, UsageAdjustment._meta.db_table)
_AMONG = "= ANY(%(ids)s)"
_AMONG_JSON = "IN (SELECT value FROM json_each(%(ids)s))"
_UNSUMMED = " AND held.x >= %(upto)s::xid8"
_BY_ARRAYS = [
    _swept("days", "date", _DAYS, "day"),
    _swept("hours", "timestamptz", _HOURS, "hour"),
    *(_joined(_arrays_of("pieces", "uuid"), table, "request_id", _AMONG) for table in _LOG),
    *(_swept("summed", "uuid", table, "request_id", _UNSUMMED) for table in _LOG),
]
_BY_JSON = [
    _joined(_json_of("hours"), _HOURS, "hour", _AMONG_JSON),
    *(_joined(_json_of("pieces"), table, "request_id", _AMONG_JSON) for table in _LOG),
]
_PAIRS = "unnest(%(ids)s::bigint[], %(slots)s::int[]) AS whose(id, slot)"
_PAIRS_JSON = (
    "(SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS slot "
    "FROM json_each(%(pairs)s)) AS whose"
)
_OWN = "= span.id"
_BY_ARRAYS_OF_EACH = [
    _joined(_of_each(_arrays_of("days", "date"), _PAIRS), _DAYS, "day", _OWN),
    _joined(_of_each(_arrays_of("hours", "timestamptz"), _PAIRS), _HOURS, "hour", _OWN),
    *(
        _joined(_of_each(_arrays_of(name, "uuid"), _PAIRS), table, "request_id", _OWN + more)
        for name, more in (("pieces", ""), ("summed", _UNSUMMED))
        for table in _LOG
    ),
]
_BY_JSON_OF_EACH = [
    _joined(_of_each(_json_of("hours"), _PAIRS_JSON), _HOURS, "hour", _OWN),
    *(
        _joined(_of_each(_json_of("pieces"), _PAIRS_JSON), table, "request_id", _OWN)
        for table in _LOG
    ),
]
ON_POSTGRESQL = {kind: _statement(column, _BY_ARRAYS) for kind, column in HOLDERS.items()}
ON_SQLITE = {kind: _statement(column, _BY_JSON) for kind, column in HOLDERS.items()}
PAIRS_ON_POSTGRESQL = {
    kind: _statement(column, _BY_ARRAYS_OF_EACH) for kind, column in HOLDERS.items()
}
PAIRS_ON_SQLITE = {kind: _statement(column, _BY_JSON_OF_EACH) for kind, column in HOLDERS.items()}
