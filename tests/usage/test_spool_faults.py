"""F55: a spool that is full, read-only, deleted, torn or damaged loses the bad record alone."""

import random
import shutil
import subprocess

import pytest

from tests.faults.figures import figure
from tests.soak import trials
from tests.usage.spools import OwnSpool, empty_log, make_record
from usage.errors import SpoolUnavailable
from usage.models import QuarantinedRecord, UsageRecord

pytestmark = pytest.mark.django_db(transaction=True)

RECORDS = 40
#: The same of all records of these tests.
FACTS = (
    "key_id", "key_name", "team_name", "model_asked", "upstream_model", "input_tokens",
    "output_tokens", "cost_nano", "total_ms", "end_reason", "status",
)  # fmt: skip
GOOD = {name: getattr(make_record(), name) for name in FACTS}
FLIPS = trials(6, 200)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB of its own."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("This user may mount nothing: only root may.")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def make_read_only(disk):
    """Over the spool's folder, for no file system that is written to can be made so."""
    folder = str(disk / "spool")
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


def until_refused(own):
    """Record requests for as long as they are let in and can be closed; returns those."""
    closed = []
    for _ in range(20_000):
        record = make_record(tags="x" * 200)
        try:
            own.spool.check_writable()
            own.record(record)
        except SpoolUnavailable:
            return closed
        closed.append(record.request_id)
    raise AssertionError("The disk never was full.")


def test_f55_a_spool_that_was_full_has_all_that_was_closed(small_disk):
    own = OwnSpool(small_disk / "spool")
    (small_disk / "other").write_bytes(b"x" * 600_000)

    closed = until_refused(own)
    (small_disk / "other").unlink()
    own.spool.check_disk()
    own.record(after := make_record())
    own.ship()

    kept = set(UsageRecord.objects.values_list("pk", flat=True))
    figure("F55", f"full: {len(closed)} closed, {len(set(closed) - kept)} lost", "0 lost")
    assert set(closed) | {after.request_id} <= kept
    assert not QuarantinedRecord.objects.exists()
    own.end()
    empty_log()


def test_f55_nothing_is_let_in_while_the_spool_is_read_only(small_disk):
    own = OwnSpool(small_disk / "spool")
    own.record(before := make_record())
    make_read_only(small_disk)
    own.spool.check_disk()

    with pytest.raises(SpoolUnavailable):
        own.spool.check_writable()
    subprocess.run(["umount", str(small_disk / "spool")], check=True)
    own.spool.check_disk()
    own.spool.check_writable()
    own.record(after := make_record())
    own.ship()

    kept = set(UsageRecord.objects.values_list("pk", flat=True))
    assert kept == {before.request_id, after.request_id}
    own.end()
    empty_log()


def delete_segments(folder):
    """What a sweep of old files does: the folders stay, and so does the file that is open."""
    for segment in folder.rglob("*.spool"):
        segment.unlink()


@pytest.mark.parametrize("delete", [shutil.rmtree, delete_segments])
def test_f55_a_spool_that_is_deleted_underneath_is_noticed_and_begun_anew(tmp_path, delete):
    own = OwnSpool(tmp_path / "spool")
    own.record(before := make_record())
    own.ship()
    delete(tmp_path / "spool")
    own.spool.check_disk()

    with pytest.raises(SpoolUnavailable):
        own.spool.check_writable()
    own.crash()
    again = OwnSpool(tmp_path / "spool")
    again.record(after := make_record())
    again.ship()

    kept = set(UsageRecord.objects.values_list("pk", flat=True))
    assert kept == {before.request_id, after.request_id}
    again.end()
    empty_log()


def damaged(tmp_path, number, damage):
    """How many records of a dead process arrive after its file was damaged, and are set aside."""
    dead = OwnSpool(tmp_path / f"spool-{number}")
    records = [make_record() for _ in range(RECORDS)]
    dead.record(*records)
    dead.crash()
    (path,) = dead.segments
    path.write_bytes(damage(bytearray(path.read_bytes())))
    successor = OwnSpool(dead.root)
    successor.ship()
    successor.end()
    ids = {record.request_id for record in records}
    arrived = [row for row in UsageRecord.objects.filter(outcome="ok") if facts_of(row) == GOOD]
    # What is not as it was written does not arrive as if it were.
    assert len(arrived) == UsageRecord.objects.filter(outcome="ok").count()
    empty_log()
    return len(ids & {row.request_id for row in arrived})


def facts_of(record):
    return {name: getattr(record, name) for name in FACTS}


def test_f55_a_bit_that_flips_costs_one_record_at_most(tmp_path):
    chance, lost = random.Random(55), []

    def flip(content):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        return content

    for number in range(FLIPS):
        lost.append(RECORDS - damaged(tmp_path, number, flip))

    figure("F55", f"{FLIPS} flips: {max(lost)} records lost at most", "the bad one")
    assert max(lost) <= 1
    empty_log()


def test_f55_a_bit_that_flips_within_a_cost_does_not_change_what_is_charged(tmp_path):
    def make_dearer(content):
        content[content.rindex(b"20000") + 4] ^= 1  # a nano-dollar more, and good JSON still
        return content

    assert damaged(tmp_path, 0, make_dearer) == RECORDS - 1


def test_f55_a_torn_tail_costs_the_record_that_is_torn(tmp_path):
    chance = random.Random(56)

    def tear(content):
        last = content.rstrip(b"\n").rindex(b"\n") + 1
        return content[: chance.randrange(last + 1, len(content) - 1)]

    lost = [RECORDS - damaged(tmp_path, number, tear) for number in range(trials(3, 50))]

    assert max(lost) <= 1
    empty_log()
