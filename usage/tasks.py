"""What runs in the background, and when, is decided in `courier_site.celery`."""

from __future__ import annotations

from celery import shared_task

from usage import rollups


@shared_task(ignore_result=True)
def roll_up() -> None:
    """Bring the sums per day up to date."""
    rollups.roll_up()
