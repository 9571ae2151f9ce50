"""Request ids: UUIDs of version 7, so that they sort by time and carry their day."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def uuid7() -> UUID:
    """A new UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def made_at(request_id: UUID) -> datetime:
    """The moment, in UTC and to the millisecond, at which a UUIDv7 was made."""
    return datetime.fromtimestamp((request_id.int >> 80) / 1000, tz=UTC)


def hour_of(request_id: UUID) -> datetime:
    """The beginning of the hour, in UTC, in which a UUIDv7 was made."""
    return made_at(request_id).replace(minute=0, second=0, microsecond=0)


def lowest_at(moment: datetime) -> UUID:
    """The id that is not above any made at `moment` and above all made a millisecond before."""
    return UUID(int=(moment - EPOCH) // timedelta(milliseconds=1) << 80)
