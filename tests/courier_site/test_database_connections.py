"""Connections to PostgreSQL: kept in a pool, looked at before use, given up when nobody answers."""

import threading
from concurrent import futures

import environ
import psycopg
import pytest
from django.db import OperationalError
from django.db.utils import ConnectionHandler

from courier_site.settings import on_postgresql
from tests.e2e.packets import vanished
from tests.services import wait_for

ALIAS = "connections-of-a-test"
GIVEN_UP_WITHIN_S = 80
LONG = "SELECT pg_sleep(300)"
AT_IT = f"FROM pg_stat_activity WHERE query = '{LONG}'"


@pytest.fixture
def database(postgres, django_db_blocker):
    """The connection of a thread, by way of the pool that all threads share."""
    described = environ.Env.db_url_config(postgres.url())
    on_postgresql(described, connections=2)
    handler = ConnectionHandler({"default": {}, ALIAS: described})
    with django_db_blocker.unblock():
        yield lambda: handler[ALIAS]
        handler[ALIAS].close_pool()


@pytest.fixture
def operator(postgres):
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        yield connection


def ask(database, query):
    """The answer, over a connection that then goes back to the pool."""
    connection = database()
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]
    finally:
        connection.close()


def test_f43_a_connection_that_a_restart_has_ended_is_given_to_nobody(database, operator):
    ended = ask(database, "SELECT pg_backend_pid()")
    # It says yes when the process is gone.
    ending = operator.execute("SELECT pg_terminate_backend(%s, 10000)", [ended])
    assert ending.fetchone() == (True,)

    assert ask(database, "SELECT pg_backend_pid()") != ended


@pytest.mark.fault
@pytest.mark.timeout(60 + 2 * GIVEN_UP_WITHIN_S)
def test_f40_a_server_that_vanishes_without_a_word_is_given_up(database, operator, postgres):
    is_connected, is_away = threading.Event(), threading.Event()

    def ask_too_late():
        database().ensure_connection()
        is_connected.set()
        is_away.wait()
        return ask(database, "SELECT 1")

    with futures.ThreadPoolExecutor(2) as threads:
        unheard = threads.submit(ask_too_late)
        unanswered = threads.submit(ask, database, LONG)
        is_connected.wait()
        wait_for(lambda: operator.execute(f"SELECT 1 {AT_IT}").fetchone(), "it to be asked")
        with vanished(postgres):
            is_away.set()
            _, hanging = futures.wait((unheard, unanswered), GIVEN_UP_WITHIN_S)
        operator.execute(f"SELECT pg_terminate_backend(pid) {AT_IT}")

    assert not hanging
    for given_up in (unheard, unanswered):
        assert isinstance(given_up.exception(), OperationalError)
