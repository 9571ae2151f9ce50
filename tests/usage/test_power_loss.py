"""R05: when the power fails, what was synced is there, and what is torn is seen to be torn."""

import os

import pytest

from tests.usage.spools import make_attempt, make_record
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


def test_r05_every_byte_at_which_a_record_can_be_torn_is_noticed(own):
    own.record(whole := make_record())
    (segment,) = own.spool.segments
    safe = segment.written
    own.recorder.open(cut := make_record())
    opened = segment.written
    own.recorder.close(cut)
    content = segment.path.read_bytes()
    # All of it but the newline is a whole record.
    for end in range(opened, segment.written - 1, 7):
        segment.path.write_bytes(content[:end])
        lines = list(_lines(segment.path))
        assert [b"C" in line[:1] for line in lines].count(True) == 1
    assert safe < opened
    assert whole.request_id != cut.request_id


def _lines(path):
    from usage import spool

    for line in spool.lines_to_the_end(path):
        yield from line.payloads
