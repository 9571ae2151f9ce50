"""What runs in the background, and when, is decided in `courier_site.celery`."""

from __future__ import annotations

from celery import shared_task

from usage import partitions, rollups


@shared_task(ignore_result=True)
def roll_up() -> None:
    """Bring the sums per day up to date."""
    rollups.roll_up()


@shared_task(ignore_result=True)
def look_after_partitions() -> None:
    """Make the days of the log that come next. Without them rows would lie in the default."""
    partitions.look_after()
