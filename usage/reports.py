"""What was used, by one or two dimensions, as of a moment: the same then and ever after.

Sums per day and hour are read, and the log only where they do not tell (`usage.pieces`). All
arithmetic is with integers; the currency comes in at the end, and is rounded once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import reduce
from operator import or_
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.db import connection, models
from django.db.models import Max, Q, Sum

from lib.ids import hour_of, lowest_at
from usage import pieces, sums
from usage.as_of import is_known, is_late
from usage.models import (
    AsOf,
    DailyTagUsage,
    DailyUsage,
    HourlyTagUsage,
    HourlyUsage,
    Measures,
    PurgeReceipt,
    StaleHour,
    UsageAdjustment,
    UsageRecord,
)
from usage.pieces import BY_TIME, HOUR, Bucket, NoReport, Pieces, Span
from usage.report_questions import DIMENSIONS, Question, has_id
from usage.snapshots import one_snapshot
from usage.transaction_window import PERIODS

#: Raised when a column changes its meaning.
VERSION = 1
Kind = PurgeReceipt.Kind
#: Parts of one query's condition: SQLite takes no more than a thousand.
SPANS_AT_A_TIME = 100
#: Digits of money behind the point.
PLACES = Decimal("1.000000000")


#: The bucket's number, and what tells the values of the other dimensions apart.
Identity = tuple[Any, ...]


@dataclass(slots=True)
class Group:
    """What becomes one line: sums so far, and the names that were met for each dimension."""

    sums: list[int]
    names: list[set[str]]

    def add(self, names: Iterable[str], numbers: Iterable[int | None]) -> None:
        self.sums = [have + int(more or 0) for have, more in zip(self.sums, numbers, strict=True)]
        for known, name in zip(self.names, names, strict=True):
            known.add(name)


class Line(NamedTuple):
    """One line of a report: an id (or None) and a name for each dimension, and the sums."""

    ids: tuple[Any, ...]
    names: tuple[str, ...]
    sums: dict[str, int]


@dataclass(frozen=True, slots=True)
class Report:
    question: Question
    as_of: AsOf
    lines: list[Line]

    @property
    def totals(self) -> dict[str, int]:
        """Over all lines. By tag, a request with two tags is in two lines, and counts twice."""
        return {name: sum(line.sums[name] for line in self.lines) for name in Measures.SUMS}

    @property
    def columns(self) -> list[str]:
        told: list[str] = []
        for name in self.question.dimensions:
            told += [f"{name}_id", f"{name}_name"] if has_id(name) else [name]
        return [*told, *Measures.SUMS, "currency", "cost"]

    def rows(self) -> Iterator[list[Any]]:
        """The values of the columns. Costs are exact; in the currency they are rounded once."""
        for line in self.lines:
            told: list[Any] = []
            for name, id_, text in zip(self.question.dimensions, *line[:2], strict=True):
                told += [id_, text] if has_id(name) else [text]
            yield [*told, *line.sums.values(), self.question.currency, self.money(line)]

    def money(self, line: Line) -> Decimal:
        return in_currency(line.sums["cost_nano"], self.question.rate)


def in_currency(nano: int, rate: Decimal) -> Decimal:
    return (Decimal(nano).scaleb(-9) * rate).quantize(PLACES, ROUND_HALF_EVEN)


def report(question: Question, as_of: AsOf) -> Report:
    """The answer, as it was known then. In a time zone without whole hours, not by hour."""
    buckets = question.buckets()
    with one_snapshot():
        uncertain = uncertain_hours(question.start, min(question.end, as_of.at + HOUR), as_of)
        where = pieces.cut(buckets, as_of.at, uncertain)
        check_kept(where)
        reading = _Reading(question, as_of, buckets)
        reading.read(where)
        return Report(question, as_of, reading.lines())


class NotKept(NoReport):
    """Retention has removed what would have to be read."""


def check_kept(where: Pieces) -> None:
    """Raises NotKept: what is gone must not count as nothing."""
    for spans, kind in ((where.hours, Kind.HOURLY), (where.log, Kind.RECORDS)):
        receipts = PurgeReceipt.objects.filter(kind=kind)
        last = receipts.aggregate(last=Max("last_day"))["last"]
        if last and any(start.date() <= last for start, _ in spans):
            raise NotKept(
                f"{Kind(kind).label} are kept only since {last}. Before, only sums of whole days "
                "in UTC are: choose the time zone UTC, and no hours."
            )


def uncertain_hours(start: datetime, end: datetime, as_of: AsOf) -> set[datetime]:
    """The hours whose sums hold something that came after `as_of`, or are being made anew."""
    marked = StaleHour.objects.filter(hour__gte=start - HOUR, hour__lt=end)
    hours = set(marked.values_list("hour", flat=True))
    where, values = is_late(as_of)
    span = [_prepared_id(start), _prepared_id(end)]
    for model in (UsageRecord, UsageAdjustment):
        hours |= _hours_in(sums.table_of(model), where, [*span, *values])
    return hours


def _hours_in(table: str, where: str, values: list[Any]) -> set[datetime]:
    where = f"request_id >= %s AND request_id < %s AND {where}"
    on_postgresql = connection.vendor == "postgresql"
    told = PERIODS["hour"] if on_postgresql else "request_id"
    with connection.cursor() as cursor:
        # The parts of the statement are constants.
        cursor.execute(f"SELECT DISTINCT {told} FROM {table} WHERE {where}", values)  # noqa: S608
        found = [value for (value,) in cursor.fetchall()]
    return set(found) if on_postgresql else {hour_of(_ID.to_python(value)) for value in found}


_ID: Any = UsageRecord._meta.pk


def _prepared_id(moment: datetime) -> Any:
    return _ID.get_db_prep_value(lowest_at(moment), connection)


class _Reading:
    """Adds up what the pieces of a period hold."""

    def __init__(self, question: Question, as_of: AsOf, buckets: list[Bucket]) -> None:
        self._question = question
        self._as_of = as_of
        self._buckets = buckets
        self._starts = [bucket.start for bucket in buckets]
        self._dimensions = [DIMENSIONS[name] for name in question.others]
        self._columns = [dimension.column for dimension in self._dimensions]
        self._names = [dimension.name for dimension in self._dimensions if dimension.name]
        self._groups: dict[Identity, Group] = {}

    def read(self, where: Pieces) -> None:
        tags = self._question.knows_tags
        self._read_sums(DailyTagUsage if tags else DailyUsage, "day", where.days)
        self._read_hours(HourlyTagUsage if tags else HourlyUsage, where.hours)
        for span in where.log:
            self._read_log(span)

    def lines(self) -> list[Line]:
        """In an order that the database has no say in: of time, then of names, then of ids."""
        told = [self._line(identity, group) for identity, group in self._groups.items()]
        filled = (line for line in told if any(line.sums.values()))
        return sorted(
            filled, key=lambda line: [(n, str(i)) for i, n in zip(*line[:2], strict=True)]
        )

    def _line(self, identity: Identity, group: Group) -> Line:
        bucket, *values = identity
        names = iter(group.names)
        ids: list[Any] = []
        texts: list[str] = []
        known = dict(zip(self._question.others, values, strict=True))
        for dimension in self._question.dimensions:
            if dimension in BY_TIME:
                ids.append(None)
                texts.append(self._buckets[bucket].label)
            else:
                ids.append(known[dimension])
                texts.append(_greatest(next(names)) if has_id(dimension) else known[dimension])
        return Line(tuple(ids), tuple(texts), dict(zip(Measures.SUMS, group.sums, strict=True)))

    def _add(self, moment: datetime, row: Iterable[Any]) -> None:
        cells = list(row)
        bucket = bisect_right(self._starts, moment) - 1
        width, names = len(self._columns), len(self._names)
        identity = (bucket, *cells[:width])
        group = self._groups.get(identity)
        if group is None:
            group = Group([0] * len(Measures.SUMS), [set() for _ in self._names])
            self._groups[identity] = group
        group.add(cells[width : width + names], cells[width + names :])

    def _read_hours(self, model: type[models.Model], spans: list[Span]) -> None:
        """A bucket at a time, so that the database adds its hours up, and not Python."""
        if self._question.time in ("", "hour"):
            self._read_sums(model, "hour", spans)
            return
        for bucket in self._buckets:
            within = [
                (max(start, bucket.start), min(end, bucket.end))
                for start, end in spans
                if start < bucket.end and end > bucket.start
            ]
            self._read_sums(model, "hour", within, bucket.start)

    def _read_sums(
        self,
        model: type[models.Model],
        unit: str,
        spans: list[Span],
        of_bucket: datetime | None = None,
    ) -> None:
        """Of one bucket, or where each row tells its own."""
        for start in range(0, len(spans), SPANS_AT_A_TIME):
            chosen = _within(unit, spans[start : start + SPANS_AT_A_TIME])
            rows = model.objects.filter(chosen, self._filters())  # type: ignore[attr-defined]
            if of_bucket or not self._question.time:
                self._read_rows(rows, of_bucket or self._question.start)
            else:
                self._read_rows_by(unit, rows)

    def _filters(self) -> Q:
        chosen = self._question.filters.items()
        return Q(
            *(Q(**{f"{DIMENSIONS[name].column}__in": values}) for name, values in chosen if values)
        )

    def _read_rows(self, rows: models.QuerySet[Any], of_bucket: datetime) -> None:
        for row in self._summed(rows):
            self._add(of_bucket, row)

    def _read_rows_by(self, unit: str, rows: models.QuerySet[Any]) -> None:
        for moment, *row in self._summed(rows, unit):
            self._add(_moment(moment), row)

    def _summed(self, rows: models.QuerySet[Any], *units: str) -> Iterator[tuple[Any, ...]]:
        groups = (*units, *self._columns)
        names = {f"name_{name}": Max(name) for name in self._names}
        numbers = {f"sum_{name}": Sum(name) for name in Measures.SUMS}
        if not groups:
            # Django would group by everything where there is nothing to group by.
            yield tuple(rows.aggregate(**numbers).values())
            return
        summed = rows.order_by().values(*groups).annotate(**names, **numbers)
        yield from summed.values_list(*groups, *names, *numbers).iterator()

    def _read_log(self, span: Span) -> None:
        statement, values = self._log_statement(span)
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            for row in cursor.fetchall():
                for labeled in self._with_tags(row):
                    self._add(span[0], labeled)

    def _log_statement(self, span: Span) -> tuple[str, list[Any]]:
        """What the log knows of a span, grouped by the dimensions, and by all tags together."""
        known, known_values = is_known(self._as_of)
        events = sums.events(f"request_id >= %s AND request_id < %s AND {known}")
        span_values = [_prepared_id(span[0]), _prepared_id(span[1]), *known_values]
        where, filter_values = self._log_filters()
        groups = ["tags" if column == "tag" else column for column in self._columns]
        groups += [] if "tag" in self._columns or not self._question.knows_tags else ["tags"]
        told = [*groups, *(f"MAX({name})" for name in self._names)]
        told += [f"CAST(SUM({name}) AS bigint)" for name in Measures.SUMS]
        grouped = f" GROUP BY {', '.join(groups)}" if groups else ""
        statement = f"SELECT {', '.join(told)} FROM ({events}) AS event WHERE {where}{grouped}"  # noqa: S608
        return statement, [*span_values, *span_values, *filter_values]

    def _log_filters(self) -> tuple[str, list[Any]]:
        conditions, values = ["1 = 1"], []
        for name, chosen in self._question.filters.items():
            if chosen and name != "tag":
                conditions.append(
                    f"{DIMENSIONS[name].column} IN ({', '.join(['%s'] * len(chosen))})"
                )
                values += chosen
        return " AND ".join(conditions), values

    def _with_tags(self, row: tuple[Any, ...]) -> Iterator[list[Any]]:
        """The row once for each of its tags that are asked for."""
        if not self._question.knows_tags:
            yield list(row)
            return
        by_tag = "tag" in self._columns
        at = self._columns.index("tag") if by_tag else len(self._columns)
        chosen = self._question.filters.get("tag")
        for tag in row[at].split(",") if row[at] else ():
            if not chosen or tag in chosen:
                yield [*row[:at], *([tag] if by_tag else []), *row[at + 1 :]]


def _within(unit: str, spans: list[Span]) -> Q:
    if unit == "day":
        return reduce(or_, (Q(day__gte=s.date(), day__lt=e.date()) for s, e in spans))
    return reduce(or_, (Q(hour__gte=s, hour__lt=e) for s, e in spans))


def _moment(value: date | datetime) -> datetime:
    return value if isinstance(value, datetime) else pieces.midnight(value, ZoneInfo("UTC"))


def _greatest(names: set[str]) -> str:
    """One of the names, always the same. The database compares, as it did within each row."""
    if len(names) < 2 or connection.vendor != "postgresql":
        return max(names)
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(name) FROM unnest(%s::text[]) AS name", [sorted(names)])
        return str(cursor.fetchone()[0])
