"""A client that has signed in to the admin."""

import pytest

from tests.courier_site import impacts
from tests.factories import make_admin


@pytest.fixture
def browser(client):
    client.force_login(make_admin())
    return client


@pytest.fixture
def scene():
    return impacts.make_scene()
