"""Compares the prices of models with the shipped price list, and takes them from it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date

from registry import price_list
from registry.models import RecordedRevision, ServedModel
from registry.price_list import Comparison, Proposal
from registry.revisions import made_by


class Command(BaseCommand):
    help = "Show how prices differ from the shipped list. Exit code 2 if any can be taken from it."
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("models", nargs="*", metavar="MODEL", help="Only these models.")
        parser.add_argument("--apply", action="store_true", help="Take the prices.")
        parser.add_argument(
            "--from", dest="start", metavar="DATE", help="From when on, in UTC. Default: now."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        comparison = price_list.compare(_models(options["models"]), _start(options["start"]))
        self._show(comparison)
        if options["apply"]:
            with made_by(RecordedRevision.Origin.COMMAND, "manage.py prices"):
                written = price_list.write(comparison.writable)
            self.stdout.write(f"{len(written)} prices were taken from the list.")
        elif comparison.writable:
            raise SystemExit(2)

    def _show(self, comparison: Comparison) -> None:
        for proposal in comparison.proposals:
            for line in _lines(proposal):
                self.stdout.write(line)
        for subject in comparison.as_listed:
            self.stdout.write(f"{subject}: as listed.")
        for subject in comparison.unlisted:
            self.stdout.write(f"{subject}: not in the list.")


def _models(names: list[str]) -> list[ServedModel]:
    rows = list(price_list.models())
    if unknown := set(names) - {row.name for row in rows}:
        raise CommandError(f"There is no model named {', '.join(sorted(unknown))}.")
    return [row for row in rows if not names or row.name in names]


def _start(text: str | None) -> datetime:
    if text is None:
        return timezone.now()
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None:
        raise CommandError(f'"{text}" is no date: write one such as 2026-01-31.')
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _lines(proposal: Proposal) -> list[str]:
    start = proposal.listed.starts_at
    figures = [f"{name} {now} → {listed}" for name, now, listed in proposal.differences()]
    lines = [
        f"{proposal.subject}: as {proposal.entry}, from {start:%Y-%m-%d %H:%M} UTC on: "
        f"{', '.join(figures) or 'free'}"
    ]
    lines += [f"  {note}" for note in proposal.notes]
    return [*lines, f"  Not taken: {proposal.obstacle}"] if proposal.obstacle else lines
