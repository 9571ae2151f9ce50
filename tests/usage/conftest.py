"""Fixtures for what was used."""

import pytest

from tests.usage.spools import OwnSpool
from usage import recorder


@pytest.fixture
def own(tmp_path):
    """A spool of this process with nothing in it, and what writes and ships it, by hand."""
    own = OwnSpool(tmp_path / "spool")
    yield own
    own.end()


@pytest.fixture
def recording(settings, tmp_path):
    """The recorder, started, in a spool of its own."""
    settings.SPOOL_DIR = tmp_path / "spool"
    recorder.start()
    yield settings.SPOOL_DIR
    recorder.stop()
