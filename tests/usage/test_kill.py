"""The promise of the spool: kill -9 loses nothing that was written down."""

import os
import random
import signal
import time
from contextlib import suppress
from uuid import UUID

import pytest

from tests.usage.spools import OwnSpool, make_record
from usage import spool
from usage.models import QuarantinedRecord, UsageRecord

KILLS = 25

ID_BYTES = 16


def write_until_killed(root, acknowledgements):
    """Open requests and close most of them; tell of each step once it is done."""
    own = OwnSpool(root)
    left_open = []
    while True:
        record = make_record()
        own.recorder.open(record)
        os.write(acknowledgements, b"O" + record.request_id.bytes)
        left_open.append(record)
        if len(left_open) > 3:
            record = left_open.pop(random.randrange(4))
            own.recorder.close(record)
            os.write(acknowledgements, b"C" + record.request_id.bytes)


def killed_writer(root):
    """What a process that was killed at some moment had acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.close(reading)
            write_until_killed(root, writing)
        os._exit(1)
    os.close(writing)
    acknowledged = bytearray()
    kill_at = time.monotonic() + random.uniform(0.005, 0.06)
    while time.monotonic() < kill_at:
        acknowledged += os.read(reading, 1 << 16)
    os.kill(child, signal.SIGKILL)
    while data := os.read(reading, 1 << 16):
        acknowledged += data
    os.close(reading)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    return bytes(acknowledged)


def ids_of(kind, acknowledged):
    size = 1 + ID_BYTES
    steps = [acknowledged[at : at + size] for at in range(0, len(acknowledged), size)]
    return {UUID(bytes=step[1:]) for step in steps if step[:1] == kind}


@pytest.mark.django_db(transaction=True)
def test_kill_9_loses_nothing_and_doubles_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 200_000)
    acknowledged = b"".join(killed_writer(tmp_path / "spool") for _ in range(KILLS))

    survivor = OwnSpool(tmp_path / "spool")
    survivor.ship()
    survivor.end()

    opened, closed = ids_of(b"O", acknowledged), ids_of(b"C", acknowledged)
    ok = set(UsageRecord.objects.filter(outcome="ok").values_list("pk", flat=True))
    interrupted = set(
        UsageRecord.objects.filter(outcome="interrupted").values_list("pk", flat=True)
    )
    assert len(closed) > KILLS
    assert closed <= ok
    assert opened - closed <= ok | interrupted
    # What was written but not acknowledged any more: at most one step of each process.
    assert len((ok | interrupted) - opened) + len(ok - closed) <= KILLS
    assert not QuarantinedRecord.objects.exists()
