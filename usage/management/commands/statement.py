"""`manage.py statement TEAM 2026-10`: what a team is charged for a month, as an HTML page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.loader import render_to_string

from accounts.models import Team
from usage import as_of, statements
from usage.pieces import NoReport


class Command(BaseCommand):
    help = "Prints the statement of a team for a month as an HTML page, ready for printing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("team", help="its name")
        parser.add_argument("month", help="such as 2026-10, in the time zone of the team")
        parser.add_argument(
            "--as-of",
            type=datetime.fromisoformat,
            help="a moment in ISO 8601, UTC if it names no other zone; the newest by default",
        )

    def handle(self, *, team: str, month: str, as_of: datetime | None, **_: Any) -> None:
        try:
            told = _statement(team, month, as_of)
        except Team.DoesNotExist as error:
            raise CommandError(f"There is no team {team!r}.") from error
        except NoReport as error:
            raise CommandError(str(error)) from error
        self.stdout.write(render_to_string("usage/statement.html", {"statement": told}))


def _statement(team: str, month: str, at: datetime | None) -> statements.Statement:
    if at is not None and at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return statements.statement(
        Team.objects.get(name=team), statements.month_of(month), as_of.settle(at)
    )
