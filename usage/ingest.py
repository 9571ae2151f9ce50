"""From the spool to the database, in batches, each record once however often it is read."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from django.db import DataError, IntegrityError, connection, transaction
from django.utils import timezone

from lib.ids import hour_of
from lib.tokens import TokenUsage
from registry.models import Price
from registry.snapshot import price_of
from usage import frames, spool
from usage.models import QuarantinedRecord, SpoolCursor, StaleHour, UsageRecord
from usage.rows import COLUMNS, UNREADABLE, Refused, Row, content_of, refused, row_of
from usage.spool import Line, Segment, Spool

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHIP_EVERY_S = 0.25
ADOPT_EVERY_S = 10.0
LONGEST_BACKOFF_S = 5.0
STOP_WITHIN_S = 2.0
BATCH = 500
#: So many lines or rows are handled before the event loop, which shares the interpreter with
#: this thread, surely gets its turn.
AT_A_TIME = 50
PAUSE_S = 0.0002
#: What the database says when a row, not the database, is at fault.
ROW_AT_FAULT = (DataError, IntegrityError, OverflowError, ValueError)


@dataclass(slots=True)
class Batch:
    """What is written in one transaction."""

    rows: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    #: Where the next batch of the segment begins.
    end: int = 0

    @property
    def is_empty(self) -> bool:
        return not self.rows and not self.refused

    def add(self, line: Line, recorded_at: datetime) -> None:
        self.end = line.end
        if line.damaged:
            self.refused.append(Refused(line.damaged, "The checksum does not fit."))
        for payload in line.payloads:
            if payload.startswith(frames.CLOSE):
                self.take(row_of(payload, recorded_at))

    def take(self, row: Row | Refused) -> None:
        if isinstance(row, Refused):
            self.refused.append(row)
        else:
            self.rows.append(row)


def batches(lines: Iterable[Line]) -> Iterator[Batch]:
    """The closed requests in these lines, so many at a time."""
    batch, recorded_at = Batch(), timezone.now()
    for line in _politely(lines):
        batch.add(line, recorded_at)
        if len(batch.rows) >= BATCH:
            yield batch
            batch, recorded_at = Batch(), timezone.now()
    if batch.end:
        yield batch


def store(batch: Batch, segment: Path) -> None:
    """Write a batch in one transaction, with the place in the segment that it ends at."""
    with transaction.atomic():
        _quarantine(batch.refused + _insert(batch.rows))
        hours = {hour_of(row.values[0]) for row in batch.rows}
        StaleHour.objects.bulk_create(StaleHour(hour=hour) for hour in hours)
        SpoolCursor.objects.bulk_create(
            [SpoolCursor(segment=spool.id_of(segment), position=batch.end)],
            update_conflicts=True,
            unique_fields=["segment"],
            update_fields=["position"],
        )


def _insert(rows: list[Row]) -> list[Refused]:
    """Insert the rows that are not there yet. Returns those that the database refuses."""
    try:
        with transaction.atomic():
            _write(rows)
    except ROW_AT_FAULT as error:
        if len(rows) == 1:
            return [refused(rows[0].raw, error)]
        middle = len(rows) // 2
        return _insert(rows[:middle]) + _insert(rows[middle:])
    return []


def _write(rows: list[Row]) -> None:
    if connection.vendor == "postgresql":
        _copy(rows)
    else:
        _execute(rows)


TABLE = UsageRecord._meta.db_table
NAMES = ", ".join(COLUMNS)
MAKE_INCOMING = (
    f"CREATE TEMPORARY TABLE IF NOT EXISTS usage_incoming (LIKE {TABLE}) ON COMMIT DELETE ROWS"
)
COPY = f"COPY usage_incoming ({NAMES}) FROM STDIN"
MERGE = (
    f"INSERT INTO {TABLE} ({NAMES}) SELECT {NAMES} FROM usage_incoming "  # noqa: S608  # constants
    "ON CONFLICT (request_id) DO NOTHING"
)
INSERT = (
    f"INSERT INTO {TABLE} ({NAMES}) VALUES ({', '.join(['%s'] * len(COLUMNS))}) "  # noqa: S608
    "ON CONFLICT (request_id) DO NOTHING"
)


def _copy(rows: list[Row]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(MAKE_INCOMING)
        with connection.wrap_database_errors, cursor.copy(COPY) as copy:
            for row in _politely(rows):
                copy.write_row(row.values)
        cursor.execute(MERGE)


def _execute(rows: list[Row]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, [[_adapted(value) for value in row.values] for row in rows])


def _adapted(value: Any) -> Any:
    """As Django stores it in SQLite."""
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return str(value.astimezone(UTC).replace(tzinfo=None))
    return value.isoformat() if isinstance(value, date) else value


def _politely(items: Iterable[T]) -> Iterator[T]:
    for number, item in enumerate(items, 1):
        yield item
        if number % AT_A_TIME == 0:
            time.sleep(PAUSE_S)


def _quarantine(set_aside: list[Refused]) -> None:
    for raw, reason in set_aside:
        logger.error("a usage record was set aside: %s", reason)
        QuarantinedRecord.objects.get_or_create(
            digest=hashlib.sha256(raw).hexdigest(), defaults={"raw": raw, "reason": reason}
        )


class Unclosed:
    """The requests that a dead process left open, found by reading all that it wrote."""

    def __init__(self) -> None:
        self._opened: dict[str, bytes] = {}
        self._progress: dict[str, dict[str, Any]] = {}

    def see(self, line: Line) -> None:
        for payload in line.payloads:
            with contextlib.suppress(*UNREADABLE):
                self._see(payload, content_of(payload))

    def _see(self, payload: bytes, content: dict[str, Any]) -> None:
        request_id = content["request_id"]
        match payload[:1]:
            case frames.OPEN:
                self._opened[request_id] = payload
            case frames.PROGRESS:
                self._progress[request_id] = content
            case frames.CLOSE:
                self._opened.pop(request_id, None)
                self._progress.pop(request_id, None)

    def batch(self) -> Batch:
        """A last record for each: interrupted, with what is known of its usage."""
        batch, now = Batch(), timezone.now()
        for request_id, payload in self._opened.items():
            try:
                told = _interrupted(content_of(payload), self._progress.get(request_id))
                batch.take(row_of(payload, now, **told))
            except UNREADABLE as error:
                batch.take(refused(payload, error))
        return batch


def _interrupted(opened: dict[str, Any], progress: dict[str, Any] | None) -> dict[str, Any]:
    """What the last sign of life tells of a request that was never closed."""
    started = datetime.fromisoformat(opened["started_at"]).timestamp()
    lived_s = progress["at"] - started if progress else 0
    output_tokens = progress["output_tokens"] if progress else 0
    usage = TokenUsage(input_tokens=opened["input_tokens"], output_tokens=output_tokens)
    price = Price.objects.filter(pk=opened["price_id"]).first()
    return {
        "output_tokens": output_tokens,
        "usage_source": UsageRecord.Source.ESTIMATED,
        "cost_nano": price_of(price).cost_nano(usage) if price else None,
        "total_ms": max(round(lived_s * 1000), 0),
        "outcome": "interrupted",
        "end_reason": UsageRecord.EndReason.INTERRUPTED,
        "status": 0,
    }


def ship_leftovers(segments: list[Path]) -> None:
    """Bring home all that a dead process left, end what it had open, and clear its segments."""
    unclosed = Unclosed()
    for segment in segments:
        for batch in batches(_unshipped(segment, unclosed)):
            store(batch, segment)
    interrupted = unclosed.batch()
    if segments and not interrupted.is_empty:
        logger.warning("%d requests were interrupted by a crash", len(interrupted.rows))
        interrupted.end = segments[-1].stat().st_size
        store(interrupted, segments[-1])
    for segment in segments:
        segment.unlink()
    SpoolCursor.objects.filter(segment__in=map(spool.id_of, segments)).delete()


def _unshipped(segment: Path, unclosed: Unclosed) -> Iterator[Line]:
    """The lines behind the cursor. Those before it are only looked at."""
    cursor = SpoolCursor.objects.filter(segment=spool.id_of(segment)).first()
    shipped = cursor.position if cursor else 0
    for line in spool.lines_to_the_end(segment):
        unclosed.see(line)
        if line.end > shipped:
            yield line


class Shipper:
    """The thread that ships one process's spool, and now and then what dead ones left."""

    def __init__(self, own: Spool, leftovers: list[Path], root: Path) -> None:
        self._own = own
        self._leftovers = leftovers
        self._root = root
        self._adopt_at = 0.0
        self._backoff_s = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool-ship", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ship for the last time. A database that does not answer is not waited for."""
        self._stopping.set()
        self._thread.join(STOP_WITHIN_S)
        if self._thread.is_alive():
            logger.warning("the database did not answer: the next process ships what is left")

    def ship(self) -> None:
        """One pass over everything there is to ship."""
        for segment in list(self._own.segments):
            self._ship(segment)
        if self._leftovers:
            ship_leftovers(self._leftovers)
            self._leftovers = []
        if time.monotonic() >= self._adopt_at:
            self._adopt_at = time.monotonic() + ADOPT_EVERY_S
            for slot in spool.abandoned(self._root):
                ship_leftovers(slot.segments())

    def _ship(self, segment: Segment) -> None:
        if segment.shipped < segment.written:
            for batch in batches(spool.lines(segment.path, segment.shipped)):
                if not batch.is_empty:
                    store(batch, segment.path)
                segment.shipped = batch.end
        # While it stops, the slot may already have its next owner.
        if self._own.is_finished(segment) and not self._stopping.is_set():
            self._own.discard(segment)
            SpoolCursor.objects.filter(segment=spool.id_of(segment.path)).delete()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(self._backoff_s or SHIP_EVERY_S)
            self._try()
        connection.close()

    def _try(self) -> None:
        try:
            self.ship()
            self._backoff_s = 0.0
        except Exception as error:  # noqa: BLE001  # whatever it is, the spool keeps it all
            if not self._backoff_s:
                logger.warning("usage is kept in the spool for now: %s", type(error).__name__)
            self._backoff_s = min(max(self._backoff_s * 2, SHIP_EVERY_S), LONGEST_BACKOFF_S)
            with contextlib.suppress(Exception):
                connection.close()
