"""The recorder: what is written when, and that each request is closed once."""

import contextlib

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from lib.ids import uuid7
from tests.services import wait_for
from tests.usage.spools import OwnSpool, make_record
from usage import ingest, recorder, spool
from usage.errors import SpoolUnavailable
from usage.models import UsageRecord


def kinds_in(own):
    lines = [line for path in own.segments for line in spool.lines(path)]
    return b"".join(payload[:1] for line in lines for payload in line.payloads)


def test_a_request_is_opened_and_closed(own):
    record = make_record()

    own.recorder.open(record)
    own.recorder.progress(record.request_id, 3)
    own.recorder.close(record)

    assert kinds_in(own) == b"OPC"


def test_a_request_is_closed_once_only(own):
    record = make_record()
    own.record(record)

    own.recorder.close(record)

    assert kinds_in(own) == b"OC"


def test_a_request_that_was_never_opened_can_be_closed(own):
    own.recorder.close(make_record())

    assert kinds_in(own) == b"C"


def test_progress_of_a_request_that_is_not_open_is_not_written(own):
    own.recorder.progress(uuid7(), 3)

    assert kinds_in(own) == b""


def test_s46_codes_that_providers_make_up_are_not_counted_apart_for_ever(own, monkeypatch):
    monkeypatch.setattr(recorder, "MOST_OUTCOMES", 3)

    own.record(*(make_record(outcome=f"made_up_{number}") for number in range(10)))
    own.record(make_record(outcome="made_up_0"))

    assert own.recorder.outcomes == {"made_up_0": 2, "made_up_1": 1, "made_up_2": 1, "other": 7}


def test_ids_of_closed_requests_are_not_kept_for_ever(own, monkeypatch):
    monkeypatch.setattr(recorder, "CLOSED_REMEMBERED", 10)

    own.record(*(make_record() for _ in range(30)))

    assert len(own.recorder._closed) == 10


def test_a_segment_counts_the_requests_opened_in_it_that_are_still_open(own):
    first, second = make_record(), make_record()
    own.recorder.open(first)
    own.recorder.open(second)
    (segment,) = own.spool.segments
    own.spool._roll()

    own.recorder.close(first)

    assert segment.open_requests == 1


@pytest.mark.parametrize(
    "call",
    [
        recorder.check_writable,
        lambda: recorder.open_request(make_record()),
        lambda: recorder.progress(uuid7(), 1),
        lambda: recorder.close_request(make_record()),
    ],
)
def test_nothing_is_recorded_before_the_start(call):
    with pytest.raises(SpoolUnavailable):
        call()


def test_a_request_that_could_not_be_closed_can_be_closed_later(own, monkeypatch):
    record = unclosed(own, monkeypatch)

    own.recorder.close(record)

    assert kinds_in(own) == b"OC"


def test_r01_r40_what_could_not_be_closed_is_written_down_before_anybody_is_let_in(
    own, monkeypatch
):
    record = make_record()
    own.recorder.open(record)
    with monkeypatch.context() as broken:
        broken.setattr("os.write", _full)
        with pytest.raises(SpoolUnavailable):
            own.recorder.close(record)
        own.spool.check_disk()
        with pytest.raises(SpoolUnavailable):
            own.recorder.check_writable()
    own.spool.check_disk()

    own.recorder.check_writable()
    own.recorder.check_writable()

    assert kinds_in(own) == b"OC"


def test_r01_what_could_not_be_closed_is_written_down_at_the_end_at_the_latest(own, monkeypatch):
    unclosed(own, monkeypatch)

    own.recorder.stop()

    assert own.recorder._owed == {}


def test_progress_that_cannot_be_written_is_no_error(own, monkeypatch):
    record = make_record()
    own.recorder.open(record)
    with monkeypatch.context() as broken:
        broken.setattr("os.write", _full)
        own.recorder.progress(record.request_id, 3)

    assert kinds_in(own) == b"O"


def unclosed(own, monkeypatch):
    """A request that was opened, and whose end could not be written down: the disk was full."""
    record = make_record()
    own.recorder.open(record)
    with monkeypatch.context() as broken:
        broken.setattr("os.write", _full)
        with pytest.raises(SpoolUnavailable):
            own.recorder.close(record)
    return record


def _full(descriptor, data):
    raise OSError(28, "No space left on device")


@pytest.mark.django_db(transaction=True)
def test_what_is_closed_arrives_by_itself(recording):
    record = make_record()

    recorder.check_writable()
    recorder.open_request(record)
    recorder.progress(record.request_id, 2)
    recorder.close_request(record)

    wait_for(lambda: UsageRecord.objects.filter(pk=record.request_id).exists(), "the record")


@pytest.mark.django_db(transaction=True)
def test_stopping_ships_what_is_left_and_clears_the_spool(recording):
    recorder.close_request(record := make_record())

    recorder.stop()

    assert UsageRecord.objects.get().pk == record.request_id
    assert spool.segments_in(recording / "0") == []


@pytest.mark.django_db(transaction=True)
def test_a_request_left_open_at_the_stop_ends_as_interrupted_with_the_next_start(recording):
    recorder.open_request(record := make_record(usage_source="none"))
    recorder.stop()

    recorder.start()
    wait_for(UsageRecord.objects.exists, "the record")

    assert UsageRecord.objects.get(pk=record.request_id).outcome == "interrupted"


@pytest.mark.django_db(transaction=True)
def test_stopping_twice_is_harmless(recording):
    recorder.stop()
    recorder.stop()


@contextlib.contextmanager
def no_table():
    """Take the records' table away for a while: the database answers every write with an error."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE usage_usagerecord RENAME TO usage_away")
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE usage_away RENAME TO usage_usagerecord")


@pytest.mark.django_db(transaction=True)
def test_while_the_database_is_away_the_spool_keeps_all_and_ships_it_later(recording):
    shipper = recorder._recorder._shipper
    with no_table():
        recorder.close_request(record := make_record())
        wait_for(lambda: shipper._backoff_s, "the failure to be noticed")

    wait_for(lambda: UsageRecord.objects.filter(pk=record.request_id).exists(), "the record")
    wait_for(lambda: not shipper._backoff_s, "the shipper to recover")


@pytest.mark.django_db(transaction=True)
def test_the_shipper_waits_longer_and_longer_but_not_for_ever(own, monkeypatch):
    own.record(make_record())
    waits = []
    with no_table():
        for _ in range(8):
            own.shipper._try()
            waits.append(own.shipper._backoff_s)

    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no locks on tables")
def test_stopping_does_not_wait_for_a_database_that_hangs(recording, monkeypatch):
    monkeypatch.setattr(ingest, "STOP_WITHIN_S", 0.1)
    thread = recorder._recorder._shipper._thread
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE usage_usagerecord IN ACCESS EXCLUSIVE MODE")
        recorder.close_request(make_record())

        recorder.stop()

        assert thread.is_alive()
        assert spool.segments_in(recording / "0")
    thread.join()


@pytest.mark.django_db(transaction=True)
def test_the_command_brings_home_what_dead_processes_left(settings, tmp_path, capsys):
    settings.SPOOL_DIR = tmp_path / "spool"
    dead, living = OwnSpool(settings.SPOOL_DIR), OwnSpool(settings.SPOOL_DIR)
    dead.record(record := make_record())
    living.record(make_record())
    dead.crash()

    call_command("ship_spool")

    assert list(UsageRecord.objects.values_list("pk", flat=True)) == [record.request_id]
    assert capsys.readouterr().out == "slot 0: 1 segments written\n"
    living.end()
