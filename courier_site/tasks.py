"""Background tasks about the configuration; when they run is decided in `courier_site.celery`."""

from __future__ import annotations

from celery import shared_task

from courier_site.revising import preparing, recording


@shared_task(ignore_result=True)
def apply_prepared_changes() -> None:
    """Apply what was prepared, approved, and is due."""
    preparing.apply_due()


@shared_task(ignore_result=True)
def purge_revisions() -> None:
    """Empty revisions that were kept as long as the settings ask."""
    recording.purge()
