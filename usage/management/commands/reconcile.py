"""`manage.py reconcile`: compare the log, its sums, and what Redis holds of budgets."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_date

from accounts.errors import LimitsUnavailable
from usage import budget_figures, reconciliation, rollups
from usage.money import dollars
from usage.reconciliation import Comparison
from usage.sums import DAILY, HOURLY


class Command(BaseCommand):
    help = (
        "Compares the log with its sums per hour and per day, and with what Redis holds of "
        "budgets. Exits with 1 if anything differs and was not put right."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--day", help="only this day, as in 2026-11-30, in UTC")
        parser.add_argument("--fix", action="store_true", help="make the sums that differ anew")
        parser.add_argument(
            "--rebuild",
            action="store_true",
            help="first make all sums anew, as after the log was restored in another cluster",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        if options["rebuild"]:
            rollups.rebuild()
        else:
            rollups.roll_up()
        comparisons = list(self._compared(options["day"]))
        if not comparisons:
            self.stdout.write("The log is empty: there is nothing to compare.")
            return
        differs = reconciliation.differ(comparisons)
        fixed = differs and options["fix"] and reconciliation.make_anew(comparisons)
        budgets = list(self._budgets())
        took_s = time.monotonic() - started
        result = reconciliation.store(comparisons, fixed=fixed, took_s=took_s, budgets=budgets)
        self._tell(result.findings, result.drift_nano, fixed=fixed)
        if budgets or (differs and not fixed):
            sys.exit(1)

    def _compared(self, only: str | None) -> Iterator[Comparison]:
        for day in [_day(only)] if only else reconciliation.days_of_the_log():
            comparison = reconciliation.compare_day(day)
            self.stdout.write(f"{day}")
            self.stdout.write(f"  events  {comparison.log}")
            for name, sheet in (("hourly", HOURLY), ("daily", DAILY)):
                if sheet.table in comparison.summed:
                    self.stdout.write(f"  {name:6}  {comparison.summed[sheet.table]}")
            yield comparison

    def _budgets(self) -> Iterator[str]:
        """What Redis holds of each is printed; what differs from the ledger is returned."""
        try:
            for figures in budget_figures.figures():
                self.stdout.write(f"  {figures}")
                if figures.difference:
                    yield f"{figures}. The gateways correct it within a few minutes."
        except LimitsUnavailable:
            self.stdout.write(self.style.WARNING("Redis does not answer: budgets not compared."))

    def _tell(self, findings: dict[str, list[str]], drift_nano: int, *, fixed: bool) -> None:
        for line in findings["ledger"] + findings["budgets"]:
            self.stdout.write(self.style.WARNING(line))
        if not findings["ledger"]:
            self.stdout.write(self.style.SUCCESS("Log and sums agree."))
        elif fixed:
            self.stdout.write(self.style.SUCCESS("The sums were made anew, and agree now."))
        else:
            self.stdout.write(f"They differ, by {dollars(drift_nano)} at most. Run with --fix.")


def _day(text: str) -> date:
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None:
        raise CommandError(f"{text} is no day. Give one as in 2026-11-30.")
    if day not in reconciliation.days_of_the_log():
        raise CommandError(f"The log has nothing of {day} any more: there is nothing to compare.")
    return day
