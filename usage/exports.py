"""CSV of usage records, streamed in constant memory, and safe to open in a spreadsheet.

The corrections of the records follow them as rows of their own, with signed differences, so
that the sum of a column is what the ledger says.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeAlias

from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import (
    BooleanField,
    Case,
    CharField,
    DateTimeField,
    Expression,
    F,
    Func,
    Model,
    QuerySet,
    Subquery,
    TextField,
    UUIDField,
    Value,
    When,
)
from django.db.models.functions import Abs, Cast, Concat, LPad, Replace, TruncDate
from django.utils import timezone

from lib.money import NANO_PER_DOLLAR
from usage.models import Export, UsageAdjustment, UsageRecord
from usage.snapshots import one_snapshot
from usage.tables import FORMULA, ROWS_AT_A_TIME, csv_lines

#: Goes into the file name. Add columns at the end, and raise it when one changes its meaning.
VERSION = 2
COLUMNS = (
    "request_id",
    "day",
    "started_at",
    "team_id",
    "team_name",
    "key_id",
    "key_name",
    "user_id",
    "user_name",
    "operation",
    "streamed",
    "model_asked",
    "model_served",
    "provider_name",
    "upstream_model",
    "attempts",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "usage_source",
    "cost_usd",
    "cost_nano",
    "price_id",
    "first_token_ms",
    "total_ms",
    "outcome",
    "end_reason",
    "status",
    "client_request_id",
    "trace_id",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "images",
    "search_units",
    "provider_cost_nano",
    "markup_bp",
    "tags",
    "recorded_at",
    "kind",
    "reason",
    "note",
    "revision",
)
#: An empty cell.
NOTHING = Value(None, output_field=TextField())
LONGEST_NAME = 150

Rows: TypeAlias = "QuerySet[Any]"
#: Rows whose values are the cells of `COLUMNS`, as text or numbers.
Table: TypeAlias = "QuerySet[Any, Any]"


class Moment(Func):
    """A moment as text: ISO 8601, in UTC, to the millisecond."""

    output_field = TextField()

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        template = (
            "to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
        )
        return self.as_sql(compiler, connection, template=template)

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:
        template = "strftime('%%Y-%%m-%%dT%%H:%%M:%%fZ', %(expressions)s)"
        return self.as_sql(compiler, connection, template=template)


def file_name(filters: dict[str, Any]) -> str:
    """Says what is in the file: the filters and today's date, in characters that are safe."""
    parts = [f"{name}-{value}" for name, value in sorted(filters.items())]
    text = "_".join([f"usage-v{VERSION}", f"{timezone.now():%Y%m%dT%H%M%SZ}", *parts])
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in text)
    return f"{safe[:LONGEST_NAME]}.csv"


def csv_of(records: Rows, export: Export) -> Generator[bytes]:
    """The CSV (RFC 4180, UTF-8) in pieces. `export` is saved, and says how it ended."""
    export.save()
    rows = -1  # the header is none
    state = Export.State.FAILED
    try:
        for chunk in csv_chunks(records, corrections_of(records)):
            rows += chunk.count(b"\r\n")
            yield chunk
        state = Export.State.DONE
    finally:
        Export.objects.filter(pk=export.pk).update(
            state=state, rows=max(rows, 0), ended_at=timezone.now()
        )


def csv_chunks(records: Rows, corrections: Rows) -> Iterator[bytes]:
    """The header, these requests with the newest first, and then the corrections."""
    yield ",".join(COLUMNS).encode() + b"\r\n"
    write = _copied if connection.vendor == "postgresql" else _written
    with one_snapshot():
        yield from write(_table(records.order_by("-request_id"), _cells_of_requests()))
        newest_first = corrections.order_by("-started_at", "-pk")
        yield from write(_table(newest_first, _cells_of_adjustments()))


def corrections_of(records: Rows) -> Rows:
    """All corrections of these requests, whenever they were made."""
    ids = Subquery(records.order_by().values("request_id"))
    return UsageAdjustment.objects.filter(request_id__in=ids)


def _table(rows: Rows, cells: dict[str, Any]) -> Table:
    annotated: Table = rows.annotate(**{f"cell_{name}": cell for name, cell in cells.items()})
    return annotated.values_list(*(f"cell_{name}" for name in COLUMNS))


def _copied(table: Table) -> Iterator[bytes]:
    """By COPY, which is twenty times as fast as reading rows."""
    try:
        sql, parameters = table.query.sql_with_params()
    except EmptyResultSet:  # the filters exclude each other
        return
    with connection.cursor() as cursor, connection.wrap_database_errors:
        # The values of the filters are bound by the driver, as in any other query.
        statement = f"COPY ({sql}) TO STDOUT (FORMAT csv)"
        with cursor.copy(statement, parameters) as copy:
            for data in copy:
                # No cell has a newline in it, so each one is the end of a row.
                yield bytes(data).replace(b"\n", b"\r\n")


def _written(table: Table) -> Iterator[bytes]:
    return csv_lines(table.iterator(chunk_size=ROWS_AT_A_TIME))


def _cells_of_requests() -> dict[str, Any]:
    """What stands in each column: text made harmless, numbers as they are."""
    return _own_cells(UsageRecord) | {
        "cost_usd": _dollars(),
        "kind": Value("request"),
        "reason": NOTHING,
        "note": NOTHING,
    }


def _cells_of_adjustments() -> dict[str, Any]:
    """The same for a correction. What it does not change is left empty."""
    cells = dict.fromkeys(COLUMNS, NOTHING) | _own_cells(UsageAdjustment)
    return cells | {
        "day": TruncDate("started_at", tzinfo=UTC),
        "model_served": _harmless("model"),
        "cost_usd": _dollars(),
        "kind": Value("adjustment"),
    }


def _own_cells(model: type[Model]) -> dict[str, Any]:
    described = {field.attname: field for field in model._meta.concrete_fields}
    return {name: _cell(described[name]) for name in COLUMNS if name in described}


def _cell(field: Any) -> Expression | F:
    match field:
        case BooleanField():
            return Case(When(**{field.name: True}, then=Value("true")), default=Value("false"))
        case DateTimeField():
            return Moment(field.name)
        case UUIDField():
            return F(field.name)
        case CharField():
            return _harmless(field.name)
    return F(field.attname)


def _harmless(name: str) -> Expression:
    """Text on one line, with an apostrophe before what a spreadsheet would run."""
    one_line = Replace(Replace(name, Value("\r"), Value(" ")), Value("\n"), Value(" "))
    return Case(
        When(**{f"{name}__regex": FORMULA}, then=Concat(Value("'"), one_line)), default=one_line
    )


def _dollars() -> Expression:
    """The exact cost with nine places. Nothing at all where it is unknown."""
    nano = Abs("cost_nano")
    exact = Concat(
        Case(When(cost_nano__lt=0, then=Value("-")), default=Value("")),
        Cast(nano / Value(NANO_PER_DOLLAR), TextField()),
        Value("."),
        LPad(Cast(nano % Value(NANO_PER_DOLLAR), TextField()), 9, Value("0")),
        output_field=TextField(),
    )
    return Case(When(cost_nano=None, then=None), default=exact)


def folder() -> Path:
    """Where the files of exports are."""
    path: Path = settings.DATA_DIR / "exports"
    return path


def purge(before: datetime) -> tuple[date | None, int]:
    """Remove the exports that ended earlier, files and all. Returns the first day, and how many."""
    old = list(Export.objects.filter(ended_at__lt=before).order_by("started_at"))
    for export in old:
        if export.file:
            (folder() / export.file).unlink(missing_ok=True)
            manifest_of(folder() / export.file).unlink(missing_ok=True)
    Export.objects.filter(pk__in=[export.pk for export in old]).delete()
    return (old[0].started_at.date() if old else None), len(old)


def manifest_of(path: Path) -> Path:
    """Beside the file: what it is, and how to check it."""
    return path.with_name(f"{path.name}.manifest.json")
