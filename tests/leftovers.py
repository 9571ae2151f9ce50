"""How the rows of a test that commits are taken away: only tables that have any are emptied.

Django empties every table after such a test and makes each permission anew: a tenth of a second
of a processor, after two thousand tests.
"""

from datetime import UTC, datetime
from functools import cache

from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection
from django.test import TransactionTestCase

from usage import append_only, partitions

#: What Django makes out of the models. It stays.
MADE = ("auth_permission", "django_content_type")

_made = None


def be_quick():
    """Take away so from now on. The database is as it was made."""
    global _made
    _made = _look(_said_of_made())
    TransactionTestCase._fixture_teardown = lambda _: take_away()


def take_away():
    """Leave the database as it was made."""
    global _made
    if _look(_said_of_made()) != _made:
        # The test has changed it: as Django would do it, then.
        call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
        _made = _look(_said_of_made())
    elif tables := filled():
        _empty(tables)
    append_only.guard()
    partitions.look_after()
    _drop_the_past()


def filled():
    """The tables that have rows, but for those of Django's making."""
    return [name for (name,) in _look(_who_is_filled())]


def _drop_the_past():
    """Days that a test has made on PostgreSQL, which are no rows: a purge would find them."""
    today = datetime.now(UTC).date()
    for table in partitions.partitioned():
        for partition in partitions.existing(table):
            if partition.day < today:
                partitions.drop(partition)


def _look(query):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def _said_of_made():
    return " UNION ALL ".join(f"SELECT count(*), max(id) FROM {table}" for table in MADE)


@cache
def _who_is_filled():
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return " UNION ALL ".join(
        f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})"
        for table in tables
        if table not in MADE
    )


def _empty(tables):
    # PostgreSQL wants to be told of the tables that refer to these, though they are empty.
    cascade = connection.vendor == "postgresql"
    statements = connection.ops.sql_flush(no_style(), tables, allow_cascade=cascade)
    connection.ops.execute_sql_flush(statements)
