"""`manage.py spool_import`: what a dead machine left is written once, however often."""

import io
import shutil

import pytest
from django.core.management import CommandError, call_command

from tests.usage.spools import OwnSpool, make_attempt, make_record
from usage import spool
from usage.models import SpoolCursor, UsageAttempt, UsageRecord

pytestmark = pytest.mark.django_db


@pytest.fixture
def foreign(tmp_path):
    """The spool of a machine that died: two slots, three closed requests, one open."""
    root = tmp_path / "foreign"
    first, second = OwnSpool(root), OwnSpool(root)
    first.record(make_record(tries=[make_attempt()]), make_record())
    first.recorder.open(make_record())
    second.record(make_record())
    first.crash()
    second.crash()
    return root


def imported(path):
    told = io.StringIO()
    call_command("spool_import", path, stdout=told)
    return told.getvalue()


def outcomes():
    return sorted(UsageRecord.objects.values_list("outcome", flat=True))


def test_all_of_a_foreign_spool_is_written(foreign):
    told = imported(foreign)

    assert outcomes() == ["interrupted", "ok", "ok", "ok"]
    assert "1 segments read, 3 records written" in told


def test_an_import_can_be_repeated(foreign):
    imported(foreign)
    before = list(UsageRecord.objects.values())

    imported(foreign)

    assert list(UsageRecord.objects.values()) == before
    assert UsageAttempt.objects.count() == 1


def test_an_import_can_be_repeated_though_the_cursors_are_lost(foreign):
    imported(foreign)
    SpoolCursor.objects.all().delete()

    imported(foreign)

    assert outcomes() == ["interrupted", "ok", "ok", "ok"]


def test_the_foreign_spool_stays_as_it_was(foreign):
    before = {path: path.read_bytes() for path in foreign.rglob("*.spool")}

    imported(foreign)

    assert {path: path.read_bytes() for path in foreign.rglob("*.spool")} == before


def test_one_slot_and_one_segment_can_be_named(foreign):
    imported(foreign / "1")
    imported(*spool.segments_in(foreign / "0"))

    assert len(outcomes()) == 4


def test_a_copy_under_another_path_is_the_same(foreign, tmp_path):
    imported(foreign)
    shutil.copytree(foreign, tmp_path / "copy")

    imported(tmp_path / "copy")

    assert len(outcomes()) == 4


def test_a_slot_that_a_living_process_writes_is_refused(own):
    own.recorder.open(make_record())

    with pytest.raises(CommandError, match="It ships its own spool"):
        imported(own.slot.path)

    assert outcomes() == []


@pytest.mark.parametrize("name", ["", "nothing.spool", "1-not-a-uuid.spool", "other.txt"])
def test_what_is_no_spool_is_refused(tmp_path, name):
    if name:
        (tmp_path / name).write_bytes(b"")

    with pytest.raises(CommandError, match="holds no segments"):
        imported(tmp_path / name)
