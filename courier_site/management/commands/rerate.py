"""Prices a past period anew: shows the difference by team, and writes it if told to."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_date

from accounts.models import Team
from usage import rerating
from usage.models import RerateRun
from usage.money import dollars
from usage.rerating import Scope, TeamTotal

COMMAND = "manage.py rerate"


class Command(BaseCommand):
    help = (
        "Show what requests of a period would cost by the prices of now. Exit code 2 if that "
        "differs. With --apply the differences are written as adjustments."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from", dest="first", required=True, metavar="DAY")
        parser.add_argument("--to", dest="last", required=True, metavar="DAY")
        parser.add_argument("--model", default="", help="Only requests that this model served.")
        parser.add_argument("--team", help="Only requests of this team.")
        parser.add_argument("--apply", action="store_true", help="Write the adjustments.")

    def handle(self, *args: Any, **options: Any) -> None:
        first, last = _day(options["first"]), _day(options["last"])
        if first > last:
            raise CommandError("--from must not be after --to.")
        scope = Scope(first, last, options["model"], _team(options["team"]))
        if options["apply"]:
            self._apply(scope)
            return
        totals = rerating.survey(scope)
        self._show(totals)
        if any(total.changed for total in totals):
            raise SystemExit(2)

    def _apply(self, scope: Scope) -> None:
        run = RerateRun.objects.create(
            first_day=scope.first_day,
            last_day=scope.last_day,
            model=scope.model,
            team_id=scope.team_id,
            made_by=COMMAND,
        )
        rerating.calculate(run)
        self._show(rerating.totals_of(run))
        rerating.approve(run, COMMAND)
        rerating.apply(run)
        self.stdout.write(f"{run.written} adjustments were written, as re-rating {run.pk}.")

    def _show(self, totals: list[TeamTotal]) -> None:
        for total in totals:
            self.stdout.write(
                f"{total.team}: {dollars(total.old_nano)} → {dollars(total.new_nano)}, "
                f"{total.changed} of {total.requests} requests differ"
                + (f", {total.unknown} of unknown price" if total.unknown else "")
            )
        if not totals:
            self.stdout.write("There are no such requests.")


def _day(text: str) -> date:
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None:
        raise CommandError(f'"{text}" is no day: write one such as 2026-01-31.')
    return day


def _team(name: str | None) -> int | None:
    if name is None:
        return None
    pk: int | None = Team.objects.filter(name=name).values_list("pk", flat=True).first()
    if pk is None:
        raise CommandError(f'There is no team named "{name}".')
    return pk
