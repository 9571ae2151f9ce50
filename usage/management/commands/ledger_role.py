"""`manage.py ledger_role`: a role of PostgreSQL that can add to the ledger but not change it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, connections

from usage import roles
from usage.append_only import LEDGER


class Command(BaseCommand):
    help = (
        "Grants a role what writing usage takes, and proves that it can change nothing in the "
        "ledger. Without a name, the role of COURIER_LEDGER_DATABASE_URL, made if it is missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", default="")
        parser.add_argument(
            "--serving",
            action="store_true",
            help="for DATABASE_URL of gateways and admins: it may change all but the ledger",
        )

    def handle(self, *, name: str, serving: bool, **_: Any) -> None:
        if connection.vendor != "postgresql":
            raise CommandError("SQLite has no roles. Use PostgreSQL, or leave it as it is.")
        role = name or _made_from_settings()
        if not roles.exists(role):
            raise CommandError(f"There is no role {role}. Make it with CREATE ROLE … LOGIN first.")
        if serving:
            roles.let_serve(role)
        else:
            roles.let_write_usage(role)
        if excess := roles.excess(role):
            found = ", ".join(f"{privilege} on {table}" for table, privilege in excess)
            raise CommandError(
                f"{role} has more from elsewhere: {found}. Take it from the role, from those "
                "that it is a member of, and from PUBLIC. An owner or superuser cannot be bound."
            )
        self.stdout.write(f"{role} can add to {', '.join(LEDGER)} and read them, nothing else.")


def _made_from_settings() -> str:
    """The role of the ledger's URL."""
    if not settings.LEDGER_DATABASE_URL:
        raise CommandError("Name a role, or set COURIER_LEDGER_DATABASE_URL.")
    described = connections[settings.LEDGER_DATABASE].settings_dict
    role: str = described["USER"]
    if not roles.exists(role):
        roles.create(role, described["PASSWORD"])
    return role
