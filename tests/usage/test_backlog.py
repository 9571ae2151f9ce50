"""What lies in the spools and has not reached the database."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.usage.spools import make_record
from usage import backlog

pytestmark = pytest.mark.django_db


def ended(seconds_ago, **fields):
    """A record of a request that ended so long ago, after two seconds."""
    started_at = timezone.now() - timedelta(seconds=seconds_ago + 2)
    return make_record(started_at=started_at, total_ms=2000, **fields)


def test_r39_what_ended_ten_seconds_ago_and_was_not_shipped_is_overdue(own):
    own.record(ended(10))

    assert backlog.overdue(own.root) == own.segments[0].stat().st_size


def test_r39_it_is_overdue_although_more_is_written_all_the_time(own):
    own.record(ended(10))
    own.record(ended(0))

    assert backlog.overdue(own.root) == own.segments[0].stat().st_size


def test_what_ended_just_now_is_not_overdue(own):
    own.record(ended(1))

    assert backlog.overdue(own.root) == 0


def test_a_request_that_still_runs_is_not_overdue(own):
    own.recorder.open(ended(3600))

    assert backlog.overdue(own.root) == 0


def test_what_was_shipped_is_not_overdue(own):
    own.record(ended(3600))
    own.ship()

    assert backlog.overdue(own.root) == 0


def test_without_a_spool_nothing_is_overdue(tmp_path):
    assert backlog.overdue(tmp_path / "none") == 0
