"""Writes down what is used: each admitted request is opened, and closed exactly once.

Called on the event loop, a few microseconds each. The database is told by `usage.ingest`.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from uuid import UUID

from django.conf import settings

from usage import frames, spool
from usage.errors import SpoolUnavailable
from usage.ingest import Shipper
from usage.pending import Pending
from usage.records import Attempt, Refusal, encoded
from usage.records import Record as Record
from usage.spool import Segment, Spool

logger = logging.getLogger(__name__)

#: Ids of requests closed lately, so that closing one twice is noticed.
CLOSED_REMEMBERED = 4096
#: Outcomes that are counted apart, and what all further ones are counted as.
MOST_OUTCOMES = 200
OTHERS = "other"


class Recorder:
    """The requests of one process, in the spool that it alone writes."""

    def __init__(self, own: Spool, shipper: Shipper) -> None:
        self._spool = own
        self._shipper = shipper
        self._open: dict[int, Segment] = {}
        self._closed: OrderedDict[int, None] = OrderedDict()
        #: What could not be written down when it ended. Nothing is let in before it is: so these
        #: are no more than were served at the same time.
        self._owed: dict[int, Record] = {}
        self.pending = Pending()
        #: How many requests ended how.
        self.outcomes: dict[str, int] = {}
        own.start()
        shipper.start()

    def open(self, record: Record) -> None:
        segment = self._spool.append(encoded(frames.OPEN, record))
        self._open[record.request_id.int] = segment
        segment.open_requests += 1

    def progress(self, request_id: UUID, output_tokens: int, tries: Sequence[Attempt] = ()) -> None:
        if request_id.int not in self._open:
            return
        told = {
            "request_id": request_id,
            "output_tokens": output_tokens,
            "at": time.time(),
            "tries": tries,
        }
        # It would only have served an estimate. The record itself is still to be written.
        with contextlib.suppress(SpoolUnavailable):
            self._spool.append(encoded(frames.PROGRESS, told))

    def close(self, record: Record) -> None:
        request = record.request_id.int
        if request in self._closed:
            return
        try:
            written = self._spool.append(encoded(frames.CLOSE, record))
        except SpoolUnavailable:
            self._owed[request] = record
            raise
        self._owed.pop(request, None)
        self.pending.add(record, written)
        segment = self._open.pop(request, None)
        if segment is not None:
            segment.open_requests -= 1
        self._closed[request] = None
        self._count(record.outcome)
        if len(self._closed) > CLOSED_REMEMBERED:
            self._closed.popitem(last=False)

    def _count(self, outcome: str) -> None:
        # Codes of refusals are the providers', who may make up any number of them.
        is_known = outcome in self.outcomes or len(self.outcomes) < MOST_OUTCOMES
        name = outcome if is_known else OTHERS
        self.outcomes[name] = self.outcomes.get(name, 0) + 1

    def refuse(self, refusal: Refusal) -> None:
        # It only explains, and the client is told all the same.
        with contextlib.suppress(SpoolUnavailable):
            self._spool.append(encoded(frames.REFUSED, refusal))

    @property
    def waiting_bytes(self) -> int:
        """What is written down and has not reached the database."""
        return sum(segment.written - segment.shipped for segment in list(self._spool.segments))

    @property
    def worker(self) -> str:
        """The slot of the spool, which tells the processes of one machine apart."""
        return self._spool.slot_name

    def check_writable(self) -> None:
        self._spool.check_writable()
        if self._owed:
            self._pay()

    def _pay(self) -> None:
        for record in list(self._owed.values()):
            self.close(record)

    def stop(self) -> None:
        """Ship what there is, if the database answers. The rest waits for the next process."""
        with contextlib.suppress(SpoolUnavailable):
            self._pay()
        if self._open:
            logger.warning("%d requests were left open and end as interrupted", len(self._open))
        self._shipper.stop()
        self._spool.close()


_recorder: Recorder | None = None


def start() -> None:
    """Claim a slot of the spool, and begin to sync it and to write it to the database."""
    global _recorder  # noqa: PLW0603  # one recorder per process
    slot = spool.claim(settings.SPOOL_DIR)
    leftovers = slot.segments()
    own = Spool(slot)
    _recorder = Recorder(own, Shipper(own, leftovers, settings.SPOOL_DIR))


def stop() -> None:
    """Sync and ship for the last time, for two seconds at most. May be called twice."""
    global _recorder  # noqa: PLW0603  # one recorder per process
    recorder, _recorder = _recorder, None
    if recorder is not None:
        recorder.stop()


def open_request(record: Record) -> None:
    """Write down who asks for what, before the first byte goes upstream."""
    _in_charge().open(record)


def progress(request_id: UUID, output_tokens: int, tries: Sequence[Attempt] = ()) -> None:
    """Write down how far a stream has come, for the case that it never ends.

    `tries` are the upstream calls so far, with the one that is under way as the last.
    """
    _in_charge().progress(request_id, output_tokens, tries)


def close_request(record: Record) -> None:
    """Write down how a request ended, before its last byte is sent. The first call counts.

    What raises SpoolUnavailable is kept, and written down as soon as that is possible.
    """
    _in_charge().close(record)


def refuse_request(refusal: Refusal) -> None:
    """Write down why a request was not admitted. It is in no sum, and nobody pays for it."""
    if _recorder is not None:
        _recorder.refuse(refusal)


def pending() -> Pending:
    """What is written down and has not come to the database yet."""
    return _recorder.pending if _recorder else Pending()


def check_writable() -> None:
    """Raise SpoolUnavailable unless usage can be written down now."""
    _in_charge().check_writable()


def outcomes() -> Mapping[str, int]:
    """How many requests of this process ended how."""
    return _recorder.outcomes if _recorder else {}


def waiting_bytes() -> int:
    """What this process has written down and not brought to the database."""
    return _recorder.waiting_bytes if _recorder else 0


def worker() -> str:
    """Which of the processes of one machine this is, as a number from 0."""
    return _recorder.worker if _recorder else ""


def _in_charge() -> Recorder:
    if _recorder is None:
        raise SpoolUnavailable
    return _recorder
