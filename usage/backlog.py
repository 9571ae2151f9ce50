"""What lies in the spools of this machine and has not reached the database."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime
from pathlib import Path

from usage import frames, spool
from usage.models import SpoolCursor
from usage.rows import UNREADABLE, content_of

#: Seconds after which a record is no longer merely on its way.
OVERDUE_S = 8


def overdue(root: Path) -> int:
    """Bytes that wait behind a record which should have been in the database for seconds."""
    segments = {
        spool.id_of(path): path for slot in root.glob("*") for path in spool.segments_in(slot)
    }
    shipped = dict(
        SpoolCursor.objects.filter(segment__in=segments).values_list("segment", "position")
    )
    before = time.time() - OVERDUE_S
    return sum(_waiting(path, shipped.get(id_, 0), before) for id_, path in segments.items())


def _waiting(segment: Path, shipped: int, before: float) -> int:
    """The bytes behind the cursor, if the first request that ended there did so `before`."""
    with contextlib.suppress(FileNotFoundError):  # shipped and removed meanwhile
        for line in spool.lines(segment, shipped):
            for payload in line.payloads:
                if (ended_at := _ended_at(payload)) is not None:
                    return segment.stat().st_size - shipped if ended_at < before else 0
    return 0


def _ended_at(payload: bytes) -> float | None:
    """When a closed request ended; None of what is no such record. Requests still open may wait."""
    if not payload.startswith(frames.CLOSE):
        return None
    try:
        content = content_of(payload)
        began_at = datetime.fromisoformat(content["started_at"]).timestamp()
        return began_at + float(content["total_ms"]) / 1000
    except UNREADABLE:
        return None
