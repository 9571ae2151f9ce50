"""What the commands that read a manifest have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from courier_site.manifest import Document, ManifestError, Outcome


class ManifestCommand(BaseCommand):
    """A command with a manifest's path, that explains what is wrong with it."""

    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="The manifest, in YAML.")
        parser.add_argument(
            "--prune",
            action="store_true",
            help="Delete what a manifest of this name made and this one no longer names.",
        )

    def outcome(self, act: Callable[..., Outcome], options: dict[str, Any]) -> Outcome:
        """What `act` says about the manifest; ends with exit code 1 if it cannot be applied."""
        path: Path = options["file"]
        try:
            outcome = act(Document.read(path), mark=path.name, prune=options["prune"])
        except ManifestError as error:
            for complaint in error.complaints:
                self.stderr.write(complaint)
            raise SystemExit(1) from None
        for warning in outcome.warnings:
            self.stderr.write(f"Warning: {warning}")
        return outcome
