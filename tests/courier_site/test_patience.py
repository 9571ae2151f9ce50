"""A page of the admin may keep PostgreSQL busy for so long and no longer."""

import pytest
from django.db import OperationalError, connection, connections

from courier_site import middleware, patience

pytestmark = [
    pytest.mark.skipif(
        connection.vendor != "postgresql", reason="only PostgreSQL has such a bound"
    ),
    # Connections are taken from the pool and given back, as in a process that serves.
    pytest.mark.django_db(transaction=True),
]


#: More than a pool has connections.
MANY = 50


@pytest.fixture(autouse=True)
def _brief(settings):
    settings.COURIER_PAGE_TIMEOUT_S = 0.2
    connections.close_all()
    yield
    connections.close_all()


def sleep(seconds):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def test_s44_a_statement_of_a_page_is_given_up():
    with patience.bounded(), pytest.raises(OperationalError) as given_up:
        sleep(30)

    assert patience.is_over(given_up.value)


def test_s44_no_page_of_others_is_given_up_on_the_same_connection(settings):
    # Long enough for what asks for nothing.
    settings.COURIER_PAGE_TIMEOUT_S = 2
    with patience.bounded():
        sleep(0)
        process = connection.connection.info.backend_pid
    connection.close()
    # The pool gives whichever of its connections has rested longest.
    for _ in range(MANY):
        sleep(0)
        if connection.connection.info.backend_pid == process:
            break
        connection.close()

    sleep(2.5)

    assert connection.connection.info.backend_pid == process


def test_s44_who_allows_any_number_of_seconds_waits(settings):
    settings.COURIER_PAGE_TIMEOUT_S = 0

    with patience.bounded():
        sleep(0.4)


def test_s44_a_page_that_was_given_up_says_so(rf):
    page = middleware.DatabaseAway(None)
    with patience.bounded(), pytest.raises(OperationalError) as given_up:
        sleep(30)

    answer = page.process_exception(rf.get("/admin/"), given_up.value)

    assert answer.status_code == 503
    assert "took the database too long" in answer.text
    assert "Ask for less" in answer.text
