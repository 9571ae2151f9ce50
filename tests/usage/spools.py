"""A spool for tests: written by a recorder, shipped when the test says so, killed at will."""

import os
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

from lib.ids import lowest_at, made_at, uuid7
from usage import spool
from usage.append_only import LEDGER
from usage.ingest import Shipper
from usage.models import UsageAdjustment
from usage.recorder import Recorder
from usage.records import Attempt, Record


def make_record(**fields):
    """A finished request."""
    request_id = fields.pop("request_id", None) or uuid7()
    finished = {
        "request_id": request_id,
        "started_at": fields.pop("started_at", None) or made_at(request_id),
        "key_id": 1,
        "key_name": "notebook",
        "team_id": 1,
        "team_name": "research",
        "operation": "chat",
        "streamed": True,
        "model_asked": "small",
        "model_served": "small",
        "provider_name": "local",
        "upstream_model": "tiny",
        "attempts": 1,
        "input_tokens": 10,
        "output_tokens": 5,
        "usage_source": "provider",
        "cost_nano": 20_000,
        "total_ms": 1200,
        "outcome": "ok",
        "end_reason": "complete",
        "status": 200,
    }
    return Record(**finished | fields)


def make_attempt(**fields):
    """An upstream call that answered."""
    answered = {
        "started_at": datetime(2026, 11, 25, 12, tzinfo=UTC),
        "provider_name": "local",
        "upstream_model": "tiny",
        "outcome": "ok",
        "received": True,
        "input_tokens": 10,
        "output_tokens": 5,
        "usage_source": "provider",
        "cost_nano": 20_000,
        "total_ms": 1200,
    }
    return Attempt(**answered | fields)


def empty_log():
    """Forget all that was recorded, as retention does it: no statement can delete a row."""
    with connection.cursor() as cursor:
        for table in LEDGER:
            postgresql = connection.vendor == "postgresql"
            cursor.execute(f"TRUNCATE {table}" if postgresql else f"DELETE FROM {table}")


def record_on(day, **fields):
    """A finished request of some day."""
    start = datetime.combine(day, datetime.min.time(), UTC)
    unique = uuid7().int & (1 << 62) - 1
    return make_record(request_id=UUID(int=lowest_at(start).int | unique), **fields)


def make_adjustment(record, **fields):
    """A correction of a record that has been made."""
    names = ("request_id", "started_at", "key_id", "key_name", "team_id", "team_name",
             "user_id", "user_name", "provider_name", "tags")  # fmt: skip
    facts = {name: getattr(record, name) for name in names}
    facts |= {
        "identity": f"test:{uuid7()}",
        "reason": "rerate",
        "model": record.model_served or record.model_asked,
    }
    return UsageAdjustment.objects.create(**facts | fields)


class ByHand(Shipper):
    """Ships when it is told to, in the thread that tells it."""

    def start(self):
        pass

    def stop(self):
        pass


class OwnSpool:
    """What one process has: a slot, a recorder and a shipper."""

    def __init__(self, root):
        self.root = root
        self.begin()

    def begin(self):
        """As a process does when it starts."""
        self.slot = spool.claim(self.root)
        leftovers = self.slot.segments()
        self.spool = spool.Spool(self.slot)
        self.shipper = ByHand(self.spool, leftovers, self.root)
        self.recorder = Recorder(self.spool, self.shipper)

    def record(self, *records):
        for record in records:
            self.recorder.open(record)
            self.recorder.close(record)

    def ship(self):
        self.shipper.ship()

    def crash(self):
        """Leave everything as it is, as a process does that is killed."""
        self.spool._closing = True
        self.spool._wake.set()
        self.spool._thread.join()
        os.close(self.spool._descriptor)
        self.slot.release()

    def end(self):
        if not self.spool._closing:
            self.spool.close()

    @property
    def segments(self):
        return spool.segments_in(self.slot.path)
