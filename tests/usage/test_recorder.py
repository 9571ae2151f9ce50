"""The recorder: what is written when, and that each request is closed once."""

import pytest

from lib.ids import uuid7
from tests.services import wait_for
from tests.usage.spools import make_record
from usage import recorder, spool
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
    record = make_record()
    own.recorder.open(record)
    with monkeypatch.context() as broken:
        broken.setattr("os.write", _full)
        with pytest.raises(SpoolUnavailable):
            own.recorder.close(record)

    own.recorder.close(record)

    assert kinds_in(own) == b"OC"


def test_progress_that_cannot_be_written_is_no_error(own, monkeypatch):
    record = make_record()
    own.recorder.open(record)
    with monkeypatch.context() as broken:
        broken.setattr("os.write", _full)
        own.recorder.progress(record.request_id, 3)

    assert kinds_in(own) == b"O"


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
