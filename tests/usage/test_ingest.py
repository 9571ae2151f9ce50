"""From the spool to the database: everything once, whatever happens on the way."""

import os
import shutil
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.ids import hour_of, uuid7
from tests import factories
from tests.usage.spools import OwnSpool, empty_log, make_record
from tests.usage.test_decisions import make_refusal
from usage import frames, ingest, ledger, spool
from usage.models import QuarantinedRecord, SpoolCursor, StaleHour, UsageRecord
from usage.records import encoded

pytestmark = pytest.mark.django_db


def ids():
    return set(UsageRecord.objects.values_list("request_id", flat=True))


def flip_a_bit(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_closed_request_becomes_a_row(own):
    own.record(record := make_record(model_asked="mini", client_request_id="mine", trace_id="ab"))

    own.ship()

    row = UsageRecord.objects.get()
    told = set(record.__slots__) - {"tries", "decision"}
    assert {name: getattr(row, name) for name in told} == {
        name: getattr(record, name) for name in told
    }


def test_an_open_request_has_no_row_yet(own):
    own.recorder.open(make_record())

    own.ship()

    assert not UsageRecord.objects.exists()


def test_a_second_pass_ships_only_what_is_new(own):
    own.record(make_record())
    own.ship()
    own.record(make_record())

    own.ship()

    assert UsageRecord.objects.count() == 2


def test_more_than_a_batch_arrives_whole(own, monkeypatch):
    monkeypatch.setattr(ingest, "BATCH", 7)
    own.record(*(records := [make_record() for _ in range(30)]))

    own.ship()

    assert ids() == {record.request_id for record in records}


def test_f42_no_batch_is_larger_than_it_may_be(own, monkeypatch):
    monkeypatch.setattr(ingest, "BATCH", 7)
    for _ in range(10):
        own.record(make_record(), make_record())
        own.recorder.refuse(make_refusal())

    batches = ingest.batches(spool.lines(own.segments[0], 0))

    sizes = [len(batch.rows) + len(batch.refusals) for batch in batches]
    assert sizes == [7, 7, 7, 7, 2]


def test_the_cursor_says_how_far_a_segment_is_shipped(own):
    own.record(make_record())

    own.ship()

    (segment,) = own.spool.segments
    cursor = SpoolCursor.objects.get()
    assert cursor.segment == spool.id_of(segment.path)
    assert cursor.position == segment.written


@pytest.mark.skipif(connection.vendor == "postgresql", reason="there sums go by transactions")
def test_an_hour_that_got_a_record_is_marked(own):
    own.record(make_record(), make_record())

    own.ship()

    hours = {hour_of(record.request_id) for record in UsageRecord.objects.all()}
    assert set(StaleHour.objects.values_list("hour", flat=True)) == hours


def test_a_shipped_segment_that_was_left_behind_is_deleted(own):
    own.record(make_record())
    own.spool._roll()

    own.ship()

    assert own.segments == [own.spool.segments[-1].path]
    assert not SpoolCursor.objects.exists()


def test_a_process_that_stops_deletes_no_segment_for_it_may_be_anothers_by_now(own):
    own.record(make_record())
    own.spool._roll()
    own.shipper._stopping.set()

    own.ship()

    assert len(own.segments) == 2


@pytest.fixture
def away(monkeypatch):
    """While it lasts, the database takes nothing."""

    def refuse(rows):
        raise OperationalError("It is away.")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "add", refuse)
        yield patch


def test_f46_what_the_database_did_not_take_is_shipped_when_it_does(own, away):
    own.record(record := make_record())
    with pytest.raises(OperationalError):
        own.ship()
    away.undo()

    own.ship()

    assert ids() == {record.request_id}
    assert not QuarantinedRecord.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_f43_a_database_that_is_away_is_asked_less_and_less_often_and_then_as_before(own, away):
    own.record(record := make_record())
    waits = []
    for _ in range(7):
        own.shipper._try()
        waits.append(own.shipper._backoff_s)
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert ledger.connection().connection is None
    away.undo()

    own.shipper._try()

    assert own.shipper._backoff_s == 0
    assert ids() == {record.request_id}


def test_a_segment_is_kept_as_long_as_a_request_in_it_is_open(own):
    own.recorder.open(record := make_record())
    own.spool._roll()
    own.ship()
    assert len(own.segments) == 2

    own.recorder.close(record)
    own.ship()

    assert len(own.segments) == 1


def test_r33_of_a_batch_with_hostile_records_all_but_the_poison_one_land(own, caplog):
    hostile = [
        make_record(model_asked="a\x00b"),
        make_record(user_name="a\ud800b"),
        make_record(input_tokens=2**70, cost_nano=2**70),
        make_record(model_served="x" * 1_000_000),
        make_record(key_id=2**40),
    ]
    good = [make_record() for _ in range(194)]
    poison = make_record(key_id=None)
    own.record(*good[:97], *hostile, poison, *good[97:])

    own.ship()

    assert ids() == {record.request_id for record in (*good, *hostile)}
    quarantined = QuarantinedRecord.objects.get()
    assert "IntegrityError" in quarantined.reason
    assert str(poison.request_id).encode() in bytes(quarantined.raw)
    assert "a usage record was set aside" in caplog.text


def test_an_unreadable_record_is_set_aside_alone(own):
    own.record(make_record(status="bad"), good := make_record())

    own.ship()

    assert ids() == {good.request_id}
    assert "ValueError" in QuarantinedRecord.objects.get().reason


def test_hostile_values_arrive(own):
    own.record(
        make_record(model_asked="a\x00\ud800" + "x" * 1_000_000, input_tokens=2**70, key_id=2**40),
        make_record(model_asked="\\N\t\"'\r\n;\\.", user_name="\\"),
    )

    own.ship()

    assert not QuarantinedRecord.objects.exists()
    by_tokens = UsageRecord.objects.order_by("input_tokens")
    assert by_tokens[0].model_asked == "\\N\t\"'\r\n;\\."
    assert by_tokens[1].model_asked == "a\ufffd?" + "x" * 197


def test_a_damaged_record_is_set_aside_and_the_next_ones_arrive(own):
    own.record(*(records := [make_record() for _ in range(3)]))
    path = own.segments[0]
    position = path.read_bytes().index(b"C{")
    flip_a_bit(path, position + 30)

    own.ship()

    assert ids() == {record.request_id for record in records[1:]}
    assert QuarantinedRecord.objects.get().reason == "The checksum does not fit."


def test_what_a_dead_process_left_is_shipped_by_its_successor(own):
    own.record(record := make_record())
    own.crash()

    own.begin()
    own.ship()

    assert ids() == {record.request_id}
    assert len(own.segments) == 1


def test_what_a_dead_neighbor_left_is_shipped_by_the_living(own):
    neighbor = OwnSpool(own.root)
    neighbor.record(record := make_record())
    neighbor.crash()

    own.ship()

    assert ids() == {record.request_id}
    assert neighbor.segments == []


def test_a_living_neighbor_is_left_alone(own):
    neighbor = OwnSpool(own.root)
    neighbor.recorder.open(make_record())

    own.ship()

    assert not UsageRecord.objects.exists()
    neighbor.end()


def test_neighbors_are_looked_at_only_now_and_then(own):
    own.ship()
    neighbor = OwnSpool(own.root)
    neighbor.record(make_record())
    neighbor.crash()

    own.ship()

    assert not UsageRecord.objects.exists()


def crashed(own):
    own.crash()
    own.begin()
    own.ship()


def test_a_request_that_a_crash_cut_off_ends_as_interrupted(own):
    own.recorder.open(record := make_record(input_tokens=100, usage_source="none"))

    crashed(own)

    row = UsageRecord.objects.get()
    assert row.request_id == record.request_id
    assert (row.outcome, row.end_reason, row.status) == ("interrupted", "interrupted", 0)
    assert (row.usage_source, row.input_tokens, row.output_tokens) == ("estimated", 100, 0)


def test_an_interrupted_request_is_charged_for_its_last_progress(own):
    price = factories.make_price(factories.make_model(), input="1", output="2")
    record = make_record(input_tokens=100, output_tokens=0, price_id=price.pk, cost_nano=None)
    own.recorder.open(record)
    own.recorder.progress(record.request_id, 20)
    own.recorder.progress(record.request_id, 30)

    crashed(own)

    row = UsageRecord.objects.get()
    assert row.output_tokens == 30
    assert row.cost_nano == 100 * 1000 + 30 * 2000


def test_an_interrupted_request_lived_until_its_last_progress(own):
    record = make_record()
    record.started_at -= timedelta(seconds=60)
    own.recorder.open(record)
    own.recorder.progress(record.request_id, 1)

    crashed(own)

    assert UsageRecord.objects.get().total_ms >= 60_000


def test_the_cost_of_an_interrupted_request_without_a_price_is_unknown(own):
    own.recorder.open(make_record(cost_nano=None, price_id=None))

    crashed(own)

    assert UsageRecord.objects.get().cost_nano is None


def test_a_closed_request_is_not_interrupted_though_it_was_shipped_before_the_crash(own):
    own.recorder.open(long := make_record())
    own.record(make_record())
    own.ship()
    own.recorder.close(long)
    own.ship()

    crashed(own)

    assert set(UsageRecord.objects.values_list("outcome", flat=True)) == {"ok"}


def test_a_request_opened_before_the_cursor_is_found_after_a_crash(own):
    own.recorder.open(long := make_record())
    own.record(make_record())
    own.ship()

    crashed(own)

    assert UsageRecord.objects.get(pk=long.request_id).outcome == "interrupted"


def test_a_record_that_comes_after_its_interruption_does_not_count_again(own):
    own.recorder.open(record := make_record(output_tokens=5))
    crashed(own)

    own.recorder.close(record)
    own.ship()

    assert UsageRecord.objects.get().outcome == "interrupted"


def test_a_torn_record_of_a_dead_process_is_dropped_and_its_request_interrupted(own):
    own.record(record := make_record())
    path = own.segments[0]
    os.truncate(path, path.stat().st_size - 30)

    crashed(own)

    assert UsageRecord.objects.get(pk=record.request_id).outcome == "interrupted"
    assert not QuarantinedRecord.objects.exists()


def test_an_opening_that_cannot_be_understood_does_not_stop_the_rest(own):
    own.spool.append(b"O{}")
    own.spool.append(b"O" + encoded(frames.OPEN, make_record(started_at="never"))[1:])
    own.record(record := make_record())

    crashed(own)

    assert record.request_id in ids()
    assert len(own.segments) == 1


# In a transaction of its own, as in earnest: rows on their way are forgotten at its end.
@pytest.mark.django_db(transaction=True)
def test_only_the_rest_behind_the_cursor_is_shipped_after_a_crash(own):
    own.record(make_record())
    own.ship()
    own.record(second := make_record())
    # As if it had been removed since, by retention.
    empty_log()

    crashed(own)

    assert ids() == {second.request_id}


def test_replaying_segments_changes_nothing(own, tmp_path):
    own.record(*(make_record() for _ in range(5)))
    own.recorder.open(make_record())
    own.spool.append(b"C nothing")
    own.crash()
    shutil.copytree(own.slot.path, tmp_path / "copy")
    own.begin()
    own.ship()
    before = list(UsageRecord.objects.values())

    for _ in range(2):
        shutil.copytree(tmp_path / "copy", own.root / "copy", dirs_exist_ok=True)
        own.shipper._adopt_at = 0
        own.ship()

    assert not spool.segments_in(own.root / "copy")
    assert list(UsageRecord.objects.values()) == before
    assert QuarantinedRecord.objects.count() == 1


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("open")),
        st.tuples(st.just("close"), st.integers(0, 9)),
        st.tuples(st.just("progress"), st.integers(0, 9), st.integers(1, 99)),
        st.tuples(st.just("ship")),
        st.tuples(st.just("crash"), st.integers(0, 40)),
        st.tuples(st.just("flip"), st.floats(0, 0.999), st.integers(0, 7)),
        st.tuples(st.just("replay")),
    ),
    max_size=40,
)


class History:
    """Does what it is told to a spool, and remembers what has to come of it."""

    def __init__(self, own):
        self.own = own
        self.open = []
        self.tokens = {}
        self.hit = set()
        self.copies = {}

    def do_open(self):
        self.open.append(record := make_record(output_tokens=0))
        self.tokens[record.request_id] = 0
        self.own.recorder.open(record)

    def do_close(self, which):
        if self.open:
            record = self.open.pop(which % len(self.open))
            record.output_tokens = self.tokens[record.request_id] = 100 + which
            self.own.recorder.close(record)

    def do_progress(self, which, tokens):
        if self.open:
            record = self.open[which % len(self.open)]
            self.tokens[record.request_id] = tokens
            self.own.recorder.progress(record.request_id, tokens)

    def do_ship(self):
        self.own.ship()

    def do_crash(self, torn):
        self.own.crash()
        line = frames.framed(encoded(frames.CLOSE, make_record()))
        with self.own.segments[-1].open("ab") as file:
            file.write(line[:torn])
        self.copies |= {path.name: path.read_bytes() for path in self.own.segments}
        self.open.clear()
        self.own.begin()

    def do_flip(self, where, bit):
        path = self.own.segments[-1]
        content = bytearray(path.read_bytes())
        if content:
            position = int(where * len(content))
            line = content[content.rfind(b"\n", 0, position) + 1 :].partition(b"\n")[0]
            if content[position] != ord("\n"):
                self.hit |= {i for i in self.tokens if str(i).encode() in line}
            content[position] ^= 1 << bit
            path.write_bytes(content)

    def do_replay(self):
        directory = self.own.root / "copy"
        directory.mkdir(exist_ok=True)
        for name, content in self.copies.items():
            (directory / name).write_bytes(content)
        self.own.shipper._adopt_at = 0


@pytest.mark.django_db(transaction=True)
@settings(
    max_examples=int(os.environ.get("SPOOL_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(actions=ACTIONS)
def test_nothing_is_lost_and_nothing_doubled_whatever_happens(tmp_path, monkeypatch, actions):
    empty_log()
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 4000)
    monkeypatch.setattr(ingest, "BATCH", 3)
    history = History(own := OwnSpool(tmp_path / str(uuid7())))

    for action, *arguments in actions:
        getattr(history, f"do_{action}")(*arguments)
    history.do_crash(torn=0)
    own.ship()
    own.end()

    stored = dict(UsageRecord.objects.values_list("request_id", "output_tokens"))
    assert set(stored) <= set(history.tokens)
    assert set(history.tokens) - set(stored) <= history.hit
    assert {i: n for i, n in stored.items() if i not in history.hit} == {
        i: n for i, n in history.tokens.items() if i not in history.hit
    }


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no COPY")
def test_rows_go_by_copy_in_few_statements(own, django_assert_max_num_queries):
    own.record(*(make_record() for _ in range(300)))
    own.shipper._adopt_at = float("inf")

    with django_assert_max_num_queries(9):
        own.ship()


def test_ids_of_segments_are_uuids(own):
    assert isinstance(spool.id_of(own.segments[0]), UUID)
