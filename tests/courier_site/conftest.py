"""A client that has signed in to the admin."""

import pytest

from accounts import presence
from tests.courier_site import impacts
from tests.factories import make_admin


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """Machines that run tests may stand still for a while, and Redis with them."""
    monkeypatch.setattr(presence, "WITHIN_S", 10)


@pytest.fixture
def browser(client):
    client.force_login(make_admin())
    return client


@pytest.fixture
def scene():
    return impacts.make_scene()
