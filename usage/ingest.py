"""From the spool to the database, in batches, each record once however often it is read."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from lib import crash_points
from usage import frames, ledger, spool, tags
from usage.models import QuarantinedRecord, SpoolCursor
from usage.purges import retained
from usage.recovery import Unclosed
from usage.rows import Refused, Row, decision_of, row_of
from usage.spool import Line, Segment, Spool

logger = logging.getLogger(__name__)

SHIP_EVERY_S = 0.25
ADOPT_EVERY_S = 10.0
LONGEST_BACKOFF_S = 5.0
STOP_WITHIN_S = 2.0
BATCH = 500


@dataclass(slots=True)
class Batch:
    """What is written in one transaction."""

    rows: list[Row] = field(default_factory=list)
    #: Of requests that were not admitted: why.
    refusals: list[Row] = field(default_factory=list)
    #: What makes no row.
    refused: list[Refused] = field(default_factory=list)
    #: Where the next batch of the segment begins.
    end: int = 0

    @property
    def is_empty(self) -> bool:
        return not self.rows and not self.refusals and not self.refused

    @property
    def is_full(self) -> bool:
        return len(self.rows) + len(self.refusals) >= BATCH

    def add(self, line: Line, recorded_at: datetime) -> None:
        self.end = line.end
        if line.damaged:
            self.refused.append(Refused(line.damaged, "The checksum does not fit."))
        for payload in line.payloads:
            if payload.startswith(frames.CLOSE):
                self.take(row_of(payload, recorded_at))
            elif payload.startswith(frames.REFUSED):
                self._take_refusal(decision_of(payload, recorded_at))

    def take(self, row: Row | Refused) -> None:
        if isinstance(row, Refused):
            self.refused.append(row)
        else:
            self.rows.append(row)
            self.refused.extend(row.refused)

    def _take_refusal(self, row: Row | Refused) -> None:
        if isinstance(row, Refused):
            self.refused.append(row)
        else:
            self.refusals.append(row)

    def decisions(self, rows: Iterable[Row]) -> list[Row]:
        """Those of `rows`, and those of requests that were not admitted."""
        return [row.decision for row in rows if row.decision] + self.refusals


def batches(lines: Iterable[Line]) -> Iterator[Batch]:
    """The closed requests in these lines, so many at a time."""
    batch, recorded_at = Batch(), timezone.now()
    for line in ledger.politely(lines):
        batch.add(line, recorded_at)
        if batch.is_full:
            yield batch
            batch, recorded_at = Batch(), timezone.now()
    if batch.end:
        yield batch


def store(batch: Batch, segment: Path) -> None:
    """Write a batch in one transaction, with the place in the segment that it ends at."""
    using = ledger.database()
    with transaction.atomic(using=using):
        rows, purged = retained(batch.rows)
        refused = ledger.add(tags.bounded(rows, using)) if rows else []
        decisions = batch.decisions(rows)
        refused += ledger.add_decisions(decisions) if decisions else []
        _quarantine(batch.refused + purged + refused)
        ledger.mark_hours(row.request_id for row in rows)
        SpoolCursor.objects.using(using).bulk_create(
            [SpoolCursor(segment=spool.id_of(segment), position=batch.end)],
            update_conflicts=True,
            unique_fields=["segment"],
            update_fields=["position"],
        )
        crash_points.reach("ledger.written")
    crash_points.reach("ledger.committed")


@dataclass(slots=True)
class Counters:
    """What this process has seen, since it began."""

    quarantined: int = 0


counters = Counters()


def _quarantine(set_aside: list[Refused]) -> None:
    for raw, reason in set_aside:
        logger.error("a usage record was set aside: %s", reason)
        counters.quarantined += 1
        QuarantinedRecord.objects.using(ledger.database()).get_or_create(
            digest=hashlib.sha256(raw).hexdigest(), defaults={"raw": raw, "reason": reason}
        )


def bring_home(segments: list[Path]) -> int:
    """Write all that a dead process left, and end what it had open. Returns how many records.

    The segments stay. To do it again changes nothing.
    """
    unclosed, records = Unclosed(), 0
    for segment in segments:
        for batch in batches(_unshipped(segment, unclosed)):
            store(batch, segment)
            records += len(batch.rows)
    interrupted = Batch()
    for row in unclosed.rows(timezone.now()):
        interrupted.take(row)
    if segments and not interrupted.is_empty:
        logger.warning("%d requests were interrupted by a crash", len(interrupted.rows))
        interrupted.end = segments[-1].stat().st_size
        store(interrupted, segments[-1])
    return records + len(interrupted.rows)


def ship_leftovers(segments: list[Path]) -> None:
    """Bring home what a dead process of this machine left, and clear its segments."""
    bring_home(segments)
    crash_points.reach("leftovers.written")
    for segment in segments:
        segment.unlink()
    crash_points.reach("leftovers.cleared")
    _cursors().filter(segment__in=map(spool.id_of, segments)).delete()


def _cursors() -> QuerySet[SpoolCursor]:
    return SpoolCursor.objects.using(ledger.database())


def _unshipped(segment: Path, unclosed: Unclosed) -> Iterator[Line]:
    """The lines behind the cursor. Those before it are only looked at."""
    cursor = _cursors().filter(segment=spool.id_of(segment)).first()
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
            _cursors().filter(segment=spool.id_of(segment.path)).delete()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(self._backoff_s or SHIP_EVERY_S)
            self._try()
        ledger.connection().close()

    def _try(self) -> None:
        try:
            self.ship()
            self._backoff_s = 0.0
        except Exception as error:  # noqa: BLE001  # whatever it is, the spool keeps it all
            if not self._backoff_s:
                logger.warning("usage is kept in the spool for now: %s", type(error).__name__)
            self._backoff_s = min(max(self._backoff_s * 2, SHIP_EVERY_S), LONGEST_BACKOFF_S)
            with contextlib.suppress(Exception):
                ledger.connection().close()
