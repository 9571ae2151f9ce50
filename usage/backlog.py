"""What lies in the spools of this machine and has not reached the database."""

from __future__ import annotations

import os
import time
from pathlib import Path

from usage import spool
from usage.models import SpoolCursor

#: Seconds after which a record is no longer merely on its way.
OVERDUE_S = 60


def overdue(root: Path) -> int:
    """Bytes that should have been in the database for a minute and are not."""
    now = time.time()
    segments = [path for slot in root.glob("*") for path in spool.segments_in(slot)]
    sizes = {spool.id_of(path): size for path in segments if (size := _resting(path, now))}
    shipped = dict(SpoolCursor.objects.filter(segment__in=sizes).values_list("segment", "position"))
    return sum(max(size - shipped.get(segment, 0), 0) for segment, size in sizes.items())


def _resting(segment: Path, now: float) -> int:
    """The size of a segment that was not written to lately; 0 for others and for those gone."""
    try:
        found = os.stat(segment)
    except FileNotFoundError:
        return 0
    return found.st_size if now - found.st_mtime > OVERDUE_S else 0
