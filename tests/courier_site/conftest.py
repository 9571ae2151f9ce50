"""A client that has signed in to the admin."""

import pytest

from tests.factories import make_admin


@pytest.fixture
def browser(client):
    client.force_login(make_admin())
    return client
