"""Files of exports: made in the background by one worker at a time, in memory of fixed size.

A worker that takes an export writes its claim into the row, and goes on saying that it lives.
Whoever finds one whose worker has fallen silent takes it over. A worker that was taken for
dead sees that the export is no longer its own, and stops.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from django.db import OperationalError, connection
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from usage import exports, reports, selection, typed_rows
from usage.as_of import known, settle
from usage.models import AsOf, Export, Measures, ReportDefinition
from usage.pieces import NoReport
from usage.report_questions import Question
from usage.tables import csv_lines, harmless

logger = logging.getLogger(__name__)

#: How often a worker says that it lives, and how long one may be silent.
EVERY_S = 2.0
SILENT = timedelta(minutes=2)
MOST_TRIES = 3
PIECE = 1024 * 1024
#: What is told to people as it is. Of other errors only the name is.
TOLD = (NoReport, selection.UnknownFilter)

T = TypeVar("T")


class Superseded(Exception):
    """Another worker has the export."""


def order(**fields: Any) -> Export:
    """A new export, which a worker takes within seconds."""
    return Export.objects.create(state=Export.State.WAITING, **fields)


def make(export_id: int) -> None:
    """Make the file, unless another worker does so or has done it."""
    export = take(export_id)
    if export is None:
        return
    try:
        with Pulse(export) as pulse:
            _make(export, pulse)
    except (Superseded, OperationalError) as error:
        # Whoever looks for silent workers sees to it.
        logger.warning("export %s was left: %s", export.pk, type(error).__name__)
    except Exception as error:  # noqa: BLE001  # told to people, in the admin
        logger.warning("export %s failed: %s", export.pk, type(error).__name__)
        told = str(error) if isinstance(error, TOLD) else f"It failed: {type(error).__name__}."
        _finish(export, state=Export.State.FAILED, trouble=told[:200])


def take(export_id: int) -> Export | None:
    """Claim an export that nobody has. Of two who ask, one gets it."""
    now, claim = timezone.now(), secrets.token_hex(16)
    taken = _free().filter(pk=export_id)
    if not taken.update(
        state=Export.State.RUNNING, claim=claim, heard_at=now, tries=F("tries") + 1, rows=0
    ):
        return None
    return Export.objects.filter(claim=claim).first()


def next_one() -> int | None:
    """The export whose turn it is. One at a time, so that workers are left for other tasks."""
    _give_up_the_hopeless()
    if Export.objects.filter(state=Export.State.RUNNING, heard_at__gte=_silent_since()).exists():
        return None
    return _free().order_by("pk").values_list("pk", flat=True).first()


def _give_up_the_hopeless() -> None:
    _free().filter(tries__gte=MOST_TRIES).update(
        state=Export.State.FAILED,
        ended_at=timezone.now(),
        trouble="Each worker that began it died. Ask for less, or give workers more memory.",
    )


def _silent_since() -> datetime:
    return timezone.now() - SILENT


def _free() -> QuerySet[Export]:
    silent = Q(state=Export.State.RUNNING, heard_at__lt=_silent_since())
    return Export.objects.filter(Q(state=Export.State.WAITING) | silent)


class Pulse:
    """Says every few seconds, from a thread with a connection of its own, that work goes on."""

    def __init__(self, export: Export) -> None:
        self.rows = 0
        self._export = export
        self._is_lost = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="export", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def counted(self, rows: Iterable[T]) -> Iterator[T]:
        for row in rows:
            self.add(1)
            yield row

    def add(self, rows: int) -> None:
        if self._is_lost:
            raise Superseded
        self.rows += rows

    def _beat(self) -> None:
        while not self._stopped.wait(EVERY_S):
            with contextlib.suppress(OperationalError):
                self._is_lost = not _mine(self._export).update(
                    rows=self.rows, heard_at=timezone.now()
                )
        connection.close()


def _mine(export: Export) -> QuerySet[Export]:
    return Export.objects.filter(pk=export.pk, claim=export.claim, state=Export.State.RUNNING)


def _make(export: Export, pulse: Pulse) -> None:
    exports.folder().mkdir(parents=True, exist_ok=True)
    part = exports.folder() / f"{export.claim}.part"
    try:
        facts = _write(export, part, pulse)
        _put_in_place(export, part, facts, pulse)
    finally:
        part.unlink(missing_ok=True)


def _put_in_place(export: Export, part: Path, facts: dict[str, Any], pulse: Pulse) -> None:
    path = exports.folder() / _name(export)
    facts |= {"file": path.name, "rows": pulse.rows, **_measured(part)}
    manifest = exports.manifest_of(part)
    manifest.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    os.replace(manifest, exports.manifest_of(path))
    os.replace(part, path)
    fields = {name: facts[name] for name in ("file", "rows", "size", "sha256")}
    _finish(export, state=Export.State.DONE, **fields)


def _finish(export: Export, **fields: Any) -> None:
    _mine(export).update(ended_at=timezone.now(), **fields)


def _name(export: Export) -> str:
    """The same for two workers, for what they write is the same."""
    what = "usage" if export.kind == Export.Kind.REQUESTS else "report"
    return f"{what}-{export.pk}-{export.as_of:%Y%m%dT%H%M%SZ}.{export.format}"


def _measured(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def _write(export: Export, path: Path, pulse: Pulse) -> dict[str, Any]:
    """Write the file. Returns what its manifest says of it."""
    as_of = settle(export.as_of)
    written = {Export.Kind.REQUESTS: _write_requests, Export.Kind.REPORT: _write_report}
    facts = written[Export.Kind(export.kind)](export, as_of, path, pulse)
    return facts | {"as_of": as_of.at.isoformat(), "format": export.format, "kind": export.kind}


def _write_requests(export: Export, as_of: AsOf, path: Path, pulse: Pulse) -> dict[str, Any]:
    chosen = selection.selected(export.filters)
    tables = known(chosen, as_of), known(exports.corrections_of(chosen), as_of)
    if export.format == ReportDefinition.Format.CSV:
        _write_csv_of_requests(tables, path, pulse)
    else:
        _write_parquet(path, typed_rows.columns(), pulse.counted(typed_rows.rows(*tables)))
    return {
        "filters": export.filters,
        "columns": list(exports.COLUMNS),
        "version": exports.VERSION,
    }


def _write_csv_of_requests(tables: tuple[Any, Any], path: Path, pulse: Pulse) -> None:
    pulse.rows = -1  # the header is none
    with path.open("wb") as file:
        for chunk in exports.csv_chunks(*tables):
            pulse.add(chunk.count(b"\r\n"))
            file.write(chunk)


def _write_report(export: Export, as_of: AsOf, path: Path, pulse: Pulse) -> dict[str, Any]:
    report = reports.report(Question.from_json(export.question), as_of)
    rows = pulse.counted(report.rows())
    if export.format == ReportDefinition.Format.CSV:
        _write_csv(path, report.columns, rows)
    else:
        _write_parquet(path, [(name, _kind(name)) for name in report.columns], rows)
    return {
        "question": export.question,
        "columns": report.columns,
        "totals": report.totals,
        "version": reports.VERSION,
    }


def _write_csv(path: Path, columns: list[str], rows: Iterable[list[Any]]) -> None:
    with path.open("wb") as file:
        file.writelines(csv_lines([columns]))
        file.writelines(csv_lines([harmless(cell) for cell in row] for row in rows))


def _kind(column: str) -> str:
    if column in Measures.SUMS or column.endswith("_id"):
        return "number"
    return "money" if column == "cost" else "text"


def _write_parquet(path: Path, columns: Any, rows: Iterable[list[Any]]) -> None:
    from usage import parquet  # its library takes 60 MB, which servers do without

    parquet.write(path, columns, rows)
