"""R05: when the power fails, what was synced is there, and what is torn is seen to be torn."""

import os

import pytest

from tests.usage.spools import make_attempt, make_record
from usage import frames, spool
from usage.models import QuarantinedRecord, UsageRecord

pytestmark = pytest.mark.django_db


def ended_well():
    return set(UsageRecord.objects.filter(outcome="ok").values_list("request_id", flat=True))


@pytest.mark.parametrize("part", [0, 0.1, 0.35, 0.5, 0.77, 0.99])
def test_r05_a_power_loss_costs_only_what_was_not_synced(own, part):
    synced = [make_record(tries=[make_attempt()]) for _ in range(20)]
    own.record(*synced)
    own.spool.sync()
    (segment,) = own.spool.segments
    safe = segment.written
    own.record(*(later := [make_record() for _ in range(5)]))
    # Of what the kernel still held, some part reached the disk.
    own.crash()
    os.truncate(segment.path, safe + int(part * (segment.written - safe)))

    own.begin()
    own.ship()

    ids = {record.request_id for record in synced}
    assert ids <= ended_well() <= ids | {record.request_id for record in later}
    assert not QuarantinedRecord.objects.exists()


def test_r05_a_tail_of_zeros_is_no_record(own):
    """Some file systems bring back the length of a file, but not its last bytes."""
    own.record(record := make_record())
    own.crash()
    with own.segments[0].open("ab") as file:
        file.write(b"\x00" * 4096)

    own.begin()
    own.ship()

    assert ended_well() == {record.request_id}
    assert UsageRecord.objects.count() == 1


def test_r05_wherever_a_record_is_torn_it_is_noticed(own):
    own.record(make_record())
    (segment,) = own.spool.segments
    own.recorder.open(cut := make_record())
    opened = segment.written
    own.recorder.close(cut)
    content = segment.path.read_bytes()

    # But for its newline, which is not needed, every byte of the last record matters.
    for end in range(opened, segment.written - 1, 7):
        segment.path.write_bytes(content[:end])
        lines = spool.lines_to_the_end(segment.path)
        closed = [p for line in lines for p in line.payloads if p.startswith(frames.CLOSE)]
        assert len(closed) == 1
