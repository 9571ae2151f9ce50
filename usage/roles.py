"""Roles of PostgreSQL that may add to the ledger and read it, and nothing else with it."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection, transaction

from registry.models import Price
from usage import partitions
from usage.append_only import LEDGER
from usage.models import PurgeReceipt, QuarantinedRecord, SpoolCursor, TeamTag

#: What writing usage takes beside the ledger itself.
ADDED_TO = [model._meta.db_table for model in (QuarantinedRecord, TeamTag)]
READ = [model._meta.db_table for model in (Price, PurgeReceipt)]
CHANGED = [SpoolCursor._meta.db_table]
FORBIDDEN = ("UPDATE", "DELETE", "TRUNCATE")
MAY = """
SELECT held.name, forbidden.privilege
FROM unnest(%s::text[]) AS held(name), unnest(%s::text[]) AS forbidden(privilege)
WHERE has_table_privilege(%s, held.name, forbidden.privilege)
   OR forbidden.privilege = 'UPDATE' AND has_any_column_privilege(%s, held.name, 'UPDATE')
"""


def exists(role: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
        return cursor.fetchone() is not None


def create(role: str, password: str) -> None:
    """Make a role that can sign in."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {_quoted(role)} LOGIN PASSWORD %s", [password])


@transaction.atomic
def let_write_usage(role: str) -> None:
    """Grant what the writing of usage takes, and no more."""
    _revoke_all(role)
    _grant(role, "SELECT, INSERT", [*LEDGER, *ADDED_TO])
    _grant(role, "SELECT", READ)
    _grant(role, "SELECT, INSERT, UPDATE, DELETE", CHANGED)


@transaction.atomic
def let_serve(role: str) -> None:
    """Grant what a gateway or an admin takes: all but changes of the ledger and of tables."""
    _revoke_all(role)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() "
            "AND tablename <> ALL(%s)",
            [_all_of_the_ledger()],
        )
        others = [name for (name,) in cursor.fetchall()]
        cursor.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {_schema()} TO {_quoted(role)}")
    _grant(role, "SELECT, INSERT, UPDATE, DELETE", others)
    _grant(role, "SELECT, INSERT", LEDGER)
    # Read by name, to see whether anything strayed there.
    _grant(role, "SELECT", map(partitions.default_of, partitions.partitioned()))


def excess(role: str) -> list[tuple[str, str]]:
    """The tables and partitions of the ledger that a role may change, and how. None, that is."""
    with connection.cursor() as cursor:
        cursor.execute(MAY, [_all_of_the_ledger(), list(FORBIDDEN), role, role])
        found: list[tuple[str, str]] = cursor.fetchall()
        return found


def _all_of_the_ledger() -> list[str]:
    """Its tables, and each of their partitions."""
    tables = partitions.partitioned()
    days = [partition.name for table in tables for partition in partitions.existing(table)]
    return [*LEDGER, *map(partitions.default_of, tables), *days]


def _revoke_all(role: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"REVOKE ALL ON ALL TABLES IN SCHEMA {_schema()} FROM {_quoted(role)}; "
            f"GRANT USAGE ON SCHEMA {_schema()} TO {_quoted(role)}"
        )


def _grant(role: str, privileges: str, tables: Iterable[str]) -> None:
    names = ", ".join(map(_quoted, tables))
    with connection.cursor() as cursor:
        cursor.execute(f"GRANT {privileges} ON {names} TO {_quoted(role)}")


def _schema() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        return _quoted(cursor.fetchone()[0])


def _quoted(name: str) -> str:
    quoted: str = connection.ops.quote_name(name)
    return quoted
