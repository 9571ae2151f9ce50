"""The spool: slots, segments, and a disk that is not well."""

import os
import resource
import shutil
import subprocess
from collections import deque, namedtuple

import pytest

from tests.services import wait_for
from usage import spool
from usage.errors import SpoolUnavailable
from usage.spool import Spool

Disk = namedtuple("Disk", "f_blocks f_frsize f_bavail f_flag")
ROOMY = Disk(f_blocks=10**7, f_frsize=4096, f_bavail=5 * 10**6, f_flag=0)


@pytest.fixture
def open_spool(tmp_path):
    opened = Spool(spool.claim(tmp_path))
    yield opened
    opened.close()


def payloads_of(segment):
    return [payload for line in spool.lines(segment) for payload in line.payloads]


def all_payloads(opened):
    return [payload for segment in opened.segments for payload in payloads_of(segment.path)]


def test_the_first_slot_whose_owner_is_dead_is_claimed(tmp_path):
    first, second = spool.claim(tmp_path), spool.claim(tmp_path)
    first.release()

    third = spool.claim(tmp_path)

    assert (first.path.name, second.path.name, third.path.name) == ("0", "1", "0")


def test_only_slots_with_segments_and_without_an_owner_are_abandoned(tmp_path):
    alive, dead = Spool(spool.claim(tmp_path)), Spool(spool.claim(tmp_path))
    spool.claim(tmp_path).release()
    dead._slot.release()

    assert [slot.path.name for slot in spool.abandoned(tmp_path)] == ["1"]
    alive.close()


def test_an_abandoned_slot_is_ours_while_we_look_at_it(tmp_path):
    dead = Spool(spool.claim(tmp_path))
    dead._slot.release()

    for slot in spool.abandoned(tmp_path):
        assert spool.claim(tmp_path).path.name != slot.path.name


def test_what_was_appended_is_read_in_order(open_spool):
    for number in range(3):
        open_spool.append(b"C%d" % number)

    assert all_payloads(open_spool) == [b"C0", b"C1", b"C2"]


def test_a_full_segment_is_followed_by_another(open_spool, monkeypatch):
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 100)

    for number in range(9):
        open_spool.append(b"C%d" % number)

    assert len(open_spool.segments) > 1
    assert max(segment.written for segment in open_spool.segments) <= 100
    assert all_payloads(open_spool) == [b"C%d" % number for number in range(9)]


def test_segments_sort_by_age_and_no_id_is_used_twice(tmp_path):
    slot = spool.claim(tmp_path)
    made = []
    for _ in range(12):
        path = slot.new_segment()
        path.touch()
        made.append(path)

    assert slot.segments() == made
    assert len({spool.id_of(path) for path in made}) == 12


def test_a_segment_is_read_from_a_position_on(open_spool):
    segment = open_spool.append(b"C0")
    position = segment.written
    open_spool.append(b"C1")

    (line,) = spool.lines(segment.path, position)

    assert line == ([b"C1"], b"", segment.written)


def test_a_line_that_is_still_being_written_is_not_read(open_spool):
    segment = open_spool.append(b"C0")
    with segment.path.open("ab") as file:
        file.write(b"00000002 0000")

    assert payloads_of(segment.path) == [b"C0"]


def test_lines_are_read_across_chunks(open_spool, monkeypatch):
    monkeypatch.setattr(spool, "CHUNK_BYTES", 64)
    for number in range(20):
        open_spool.append(b"C%d" % number)

    assert all_payloads(open_spool) == [b"C%d" % number for number in range(20)]


def test_garbage_without_an_end_does_not_hide_what_follows(open_spool, monkeypatch):
    monkeypatch.setattr(spool, "CHUNK_BYTES", 64)
    segment = open_spool.segments[-1]
    segment.path.write_bytes(b"\x00" * 150 + b"\n")
    open_spool.append(b"C1")

    assert payloads_of(segment.path) == [b"C1"]


def test_the_last_record_is_found_though_its_newline_is_lost(open_spool):
    segment = open_spool.append(b"C0")
    os.truncate(segment.path, segment.written - 1)

    (line,) = spool.lines_to_the_end(segment.path)

    assert line.payloads == [b"C0"]


def test_a_torn_tail_is_dropped(open_spool):
    segment = open_spool.append(b"C0")
    with segment.path.open("ab") as file:
        file.write(b"00000002 0000")

    assert [line.payloads for line in spool.lines_to_the_end(segment.path)] == [[b"C0"]]


def test_only_a_segment_left_behind_that_is_shipped_and_has_none_open_is_finished(open_spool):
    segment = open_spool.append(b"C0")
    segment.shipped, segment.open_requests = segment.written, 1
    assert not open_spool.is_finished(segment)

    segment.open_requests = 0
    assert not open_spool.is_finished(segment)

    open_spool._roll()
    assert open_spool.is_finished(segment)


def test_closing_the_spool_removes_what_is_shipped_and_keeps_the_rest(tmp_path):
    opened = Spool(spool.claim(tmp_path))
    shipped = opened.append(b"C0")
    shipped.shipped = shipped.written
    opened._roll()
    kept = opened.append(b"C1")

    opened.close()

    assert spool.segments_in(tmp_path / "0") == [kept.path]


def test_syncing_lets_go_of_segments_left_behind(open_spool):
    open_spool.append(b"C0")
    left_behind = open_spool._descriptor
    open_spool._roll()

    open_spool.sync()

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(left_behind)


@pytest.fixture
def no_file_beyond():
    """Let no file grow beyond so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 5, 20])
def test_a_record_that_does_not_fit_on_the_disk_is_refused(open_spool, no_file_beyond, room):
    segment = open_spool.append(b"C0")
    written = segment.written
    no_file_beyond(written + room)

    with pytest.raises(SpoolUnavailable):
        open_spool.append(b"C" + b"1" * 50)

    assert segment.path.stat().st_size == written


def test_after_a_refused_record_the_next_is_written_whole(open_spool, no_file_beyond):
    open_spool.append(b"C0")
    no_file_beyond(open_spool.segments[-1].written + 10)
    with pytest.raises(SpoolUnavailable):
        open_spool.append(b"C1")
    no_file_beyond(resource.getrlimit(resource.RLIMIT_FSIZE)[1])

    open_spool.append(b"C2")

    assert all_payloads(open_spool) == [b"C0", b"C2"]


def test_a_refused_record_makes_the_spool_unavailable_until_the_disk_was_looked_at(
    open_spool, no_file_beyond
):
    no_file_beyond(5)
    with pytest.raises(SpoolUnavailable):
        open_spool.append(b"C0")
    with pytest.raises(SpoolUnavailable):
        open_spool.check_writable()

    open_spool.check_disk()

    open_spool.check_writable()


@pytest.mark.parametrize(
    "disk",
    [
        ROOMY._replace(f_flag=os.ST_RDONLY),
        ROOMY._replace(f_bavail=65_000),
        # Of a small disk a share is kept free: 5 % of 1,000 blocks.
        ROOMY._replace(f_blocks=1000, f_bavail=49),
    ],
    ids=["read-only", "less than 256 MiB free", "less than 5 % free"],
)
def test_a_disk_that_takes_no_more_makes_the_spool_unavailable(open_spool, monkeypatch, disk):
    monkeypatch.setattr(os, "statvfs", lambda path: disk)

    open_spool.check_disk()

    with pytest.raises(SpoolUnavailable):
        open_spool.check_writable()


@pytest.mark.parametrize(
    "disk",
    [ROOMY._replace(f_bavail=66_000), ROOMY._replace(f_blocks=1000, f_bavail=51)],
    ids=["more than 256 MiB free", "more than 5 % free"],
)
def test_a_disk_with_room_is_good_enough(open_spool, monkeypatch, disk):
    monkeypatch.setattr(os, "statvfs", lambda path: disk)

    open_spool.check_disk()

    open_spool.check_writable()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MB of its own."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(mounted)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("This user may mount nothing.")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def test_r40_below_the_floor_nothing_more_is_let_in_and_what_was_is_still_written(small_disk):
    opened = Spool(spool.claim(small_disk))
    opened.check_writable()
    disk = os.statvfs(small_disk)
    room = disk.f_bavail * disk.f_frsize
    (small_disk / "other").write_bytes(b"x" * int(room - disk.f_blocks * disk.f_frsize * 0.04))

    opened.check_disk()

    with pytest.raises(SpoolUnavailable):
        opened.check_writable()
    opened.append(b"C0")
    assert all_payloads(opened) == [b"C0"]
    opened.close()


def test_a_spool_that_is_deleted_underneath_is_unavailable(open_spool):
    for segment in open_spool.segments:
        segment.path.unlink()

    open_spool.check_disk()

    with pytest.raises(SpoolUnavailable):
        open_spool.check_writable()


def test_a_spool_whose_directory_is_gone_is_unavailable(tmp_path):
    opened = Spool(spool.claim(tmp_path / "spool"))
    shutil.rmtree(tmp_path / "spool")

    opened.check_disk()

    with pytest.raises(SpoolUnavailable):
        opened.check_writable()
    opened.close()


def test_the_error_tells_to_come_back_and_is_one_of_couriers():
    error = SpoolUnavailable()

    assert (error.status, error.code, error.retry_after) == (503, "usage_log_unavailable", 1)


def test_a_running_spool_syncs_by_itself(open_spool):
    open_spool.start()

    open_spool.append(b"C0")

    wait_for(lambda: not open_spool._unsynced, "a sync")


def test_a_sync_in_the_midst_of_a_roll_syncs_no_file_that_it_has_closed(open_spool, monkeypatch):
    """The thread that syncs runs as soon as it is told which file was left behind."""

    class Overheard(deque):
        def append(self, descriptor):
            super().append(descriptor)
            open_spool.sync()

    monkeypatch.setattr(spool, "SEGMENT_BYTES", 10)
    open_spool._retired = Overheard()

    for number in range(3):
        open_spool.append(b"C%d" % number)

    assert all_payloads(open_spool) == [b"C0", b"C1", b"C2"]
    open_spool.check_writable()


def test_a_running_spool_looks_at_the_disk_by_itself(open_spool, monkeypatch):
    monkeypatch.setattr(spool, "CHECK_EVERY_S", 0)
    open_spool.start()

    monkeypatch.setattr(os, "statvfs", lambda path: ROOMY._replace(f_flag=os.ST_RDONLY))

    wait_for(lambda: open_spool._trouble, "the trouble to be seen")


def test_a_sync_that_fails_makes_the_spool_unavailable(open_spool, monkeypatch):
    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    open_spool.start()
    open_spool.append(b"C0")

    wait_for(lambda: open_spool._trouble, "the trouble to be seen")
    monkeypatch.undo()
