"""What lies in the spools and has not reached the database."""

import os
import time

import pytest

from tests.usage.spools import make_record
from usage import backlog

pytestmark = pytest.mark.django_db


def age(own):
    """Let an hour have passed since the spool was written to."""
    for path in own.segments:
        os.utime(path, (time.time() - 3600,) * 2)


def test_what_was_written_an_hour_ago_and_never_shipped_is_overdue(own):
    own.record(make_record())
    age(own)

    assert backlog.overdue(own.root) == own.segments[0].stat().st_size


def test_what_was_written_just_now_is_not_overdue(own):
    own.record(make_record())

    assert backlog.overdue(own.root) == 0


def test_what_was_shipped_is_not_overdue(own):
    own.record(make_record())
    own.ship()
    age(own)

    assert backlog.overdue(own.root) == 0


def test_without_a_spool_nothing_is_overdue(tmp_path):
    assert backlog.overdue(tmp_path / "none") == 0
