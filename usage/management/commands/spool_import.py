"""`manage.py spool_import PATH`: bring home the spool of a machine that is dead."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from usage import spool
from usage.ingest import bring_home


class Command(BaseCommand):
    help = "Writes to the database what another machine left in its spool. Safe to repeat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("path", type=Path, help="The spool, one slot of it, or one segment.")

    def handle(self, *, path: Path, **_: Any) -> None:
        slots = _slots(path)
        if not slots:
            raise CommandError(
                f"{path} holds no segments. Name a folder such as DATA_DIR/spool, or a .spool file."
            )
        for slot, segments in slots.items():
            if spool.is_owned(slot):
                raise CommandError(f"A running Courier writes to {slot}. It ships its own spool.")
            records = bring_home(segments)
            self.stdout.write(f"{slot}: {len(segments)} segments read, {records} records written")
        self.stdout.write("Nothing was removed. Records that were here before were left alone.")


def _slots(path: Path) -> dict[Path, list[Path]]:
    """The segments below a path, by the slot that they are in."""
    if path.is_file():
        return {path.parent: [path]} if spool.is_segment(path) else {}
    slots = [path, *sorted(folder for folder in path.glob("*") if folder.is_dir())]
    return {slot: segments for slot in slots if (segments := spool.segments_in(slot))}
