"""`manage.py ship_spool`: bring home what processes left in the spool that run no more."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from usage import spool
from usage.ingest import ship_leftovers


class Command(BaseCommand):
    help = "Writes usage to the database that processes left in the spool which run no more."

    def handle(self, **_: Any) -> None:
        for slot in spool.abandoned(settings.SPOOL_DIR):
            segments = slot.segments()
            ship_leftovers(segments)
            self.stdout.write(f"slot {slot.path.name}: {len(segments)} segments written")
