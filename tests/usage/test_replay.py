"""R06: whatever is read again, in whatever order and however often, nothing changes.

A machine appends, flushes, crashes, replays, reorders and imports as it likes. In the end each
request has one record, and with its adjustments that says what the request's last word was.
"""

import random
import shutil
from uuid import uuid4

import pytest
from django.db.models import Sum
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.soak import trials
from tests.usage.spools import OwnSpool, empty_log, make_attempt, make_record
from usage import frames, ingest, spool
from usage.models import QuarantinedRecord, UsageAdjustment, UsageAttempt, UsageRecord
from usage.records import encoded

TOKENS = st.integers(1, 999)


class Machine(RuleBasedStateMachine):
    """A process with its spool, and copies of it that turn up again."""

    folder = None

    def __init__(self):
        super().__init__()
        empty_log()
        QuarantinedRecord.objects.all().delete()
        self.root = self.folder / uuid4().hex
        self.own = OwnSpool(self.root / "spool")
        self.own.shipper._adopt_at = float("inf")
        self.open = []
        #: What each request said last: its output tokens.
        self.closed = {}
        #: Segments as they once were, by name.
        self.copies = {}

    @rule()
    def open_one(self):
        self.open.append(record := make_record(output_tokens=0, cost_nano=0))
        self.own.recorder.open(record)

    @rule(which=st.integers(0, 9), tokens=TOKENS)
    def append(self, which, tokens):
        if not self.open:
            self.open_one()
        record = self.open.pop(which % len(self.open))
        record.output_tokens, record.cost_nano = tokens, tokens * 1000
        record.tries = [make_attempt()] * (tokens % 3)
        self.closed[record.request_id] = tokens
        self.own.recorder.close(record)

    @rule(which=st.integers(0, 9), tokens=TOKENS)
    def progress(self, which, tokens):
        if self.open:
            record = self.open[which % len(self.open)]
            self.own.recorder.progress(record.request_id, tokens)

    @rule()
    def flush(self):
        self.own.spool.sync()
        self.own.ship()

    @rule()
    def keep_a_copy(self):
        self.copies |= {path.name: path.read_bytes() for path in self.own.segments}

    @rule(torn=st.integers(0, 60))
    def crash(self, torn):
        self.own.crash()
        with self.own.segments[-1].open("ab") as file:
            file.write(frames.framed(encoded(frames.CLOSE, make_record()))[:torn])
        self.keep_a_copy()
        self.open.clear()
        self.own.begin()
        self.own.shipper._adopt_at = float("inf")

    @rule()
    def replay(self):
        """The copies turn up as what a dead neighbor left."""
        slot = self.root / "spool" / "copies"
        slot.mkdir(exist_ok=True)
        for name, content in self.copies.items():
            (slot / name).write_bytes(content)
        self.own.shipper._adopt_at = 0
        self.own.ship()
        self.own.shipper._adopt_at = float("inf")

    @rule(seed=st.integers(0, 99))
    def reorder(self, seed):
        """Lines of all copies, shuffled, in a segment that nobody has seen."""
        lines = [line for content in self.copies.values() for line in content.split(b"\n")]
        whole = [line + b"\n" for line in lines if frames.read_line(line)[0]]
        random.Random(seed).shuffle(whole)
        self.import_segments({f"00000001-{uuid4()}.spool": b"".join(whole)})

    @rule()
    def import_copies(self):
        self.import_segments(self.copies)

    def import_segments(self, segments):
        foreign = self.root / "foreign"
        foreign.mkdir()
        for name, content in segments.items():
            (foreign / name).write_bytes(content)
        ingest.bring_home(spool.segments_in(foreign))
        shutil.rmtree(foreign)

    def teardown(self):
        self.crash(0)
        self.replay()
        self.import_copies()
        self.own.end()
        stored = dict(UsageRecord.objects.values_list("request_id", "output_tokens"))
        assert set(self.closed) <= set(stored)
        assert {i: self.told(i) for i in self.closed} == self.closed
        assert total("cost_nano") == sum(1000 * self.closed[i] for i in self.closed), (
            "The bill is not the sum of what was closed."
        )
        attempts = UsageAttempt.objects.filter(request_id__in=self.closed).count()
        assert attempts == sum(tokens % 3 for tokens in self.closed.values())
        assert not QuarantinedRecord.objects.exists()

    def told(self, request_id):
        models = (UsageRecord, UsageAdjustment)
        rows = [model.objects.filter(request_id=request_id) for model in models]
        return sum(of.aggregate(sum=Sum("output_tokens"))["sum"] or 0 for of in rows)


def total(column):
    models = (UsageRecord, UsageAdjustment)
    return sum(model.objects.aggregate(sum=Sum(column))["sum"] or 0 for model in models)


@pytest.mark.timeout(trials(300, 7200))
@pytest.mark.django_db(transaction=True)
def test_r06_replaying_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 5000)
    monkeypatch.setattr(ingest, "BATCH", 3)
    monkeypatch.setattr(Machine, "folder", tmp_path)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=trials(100, 2000),
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
