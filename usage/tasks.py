"""What runs in the background, and when, is decided in `courier_site.celery`."""

from __future__ import annotations

from celery import shared_task

from usage import (
    alarms,
    announcements,
    definitions,
    deliveries,
    export_files,
    forecasts,
    partitions,
    reconciliation,
    rerating,
    retention,
    rollups,
    slopes,
    thresholds,
)
from usage.models import RerateRun

#: Seconds after which a queued try is forgotten: while no worker runs, they must not pile up.
QUEUED_FOR_S = 60
#: Seconds between two times that exports are handed out.
HAND_OUT_EVERY_S = 10


@shared_task(ignore_result=True)
def roll_up() -> None:
    """Bring the sums per hour and per day up to date."""
    rollups.roll_up()


@shared_task(ignore_result=True)
def reconcile_lately() -> None:
    """Compare the sums of the last two hours with their log."""
    reconciliation.watch_over(reconciliation.compare_lately)


@shared_task(ignore_result=True)
def reconcile_closed_days() -> None:
    """Compare all sums of the days that ended lately with their log."""
    reconciliation.watch_over(reconciliation.compare_closed_days)


@shared_task(ignore_result=True)
def look_after_partitions() -> None:
    """Make the days of the log that come next. Without them rows would lie in the default."""
    partitions.look_after()


@shared_task(ignore_result=True)
def purge() -> None:
    """Remove what was kept as long as the settings ask."""
    retention.purge()


@shared_task(ignore_result=True)
def look_at_budgets() -> None:
    """Tell of percentages that were passed."""
    thresholds.raise_passed()


@shared_task(ignore_result=True)
def look_at_ledger() -> None:
    """Tell of records that were set aside, and of such without a partition."""
    alarms.look()


@shared_task(ignore_result=True)
def look_ahead() -> None:
    """Tell of budgets that will run out early, and of hours that cost unusually much."""
    forecasts.raise_run_outs()
    slopes.raise_unusual()


@shared_task(ignore_result=True)
def deliver_alerts() -> None:
    """Queue a task of its own for each delivery that is due, so that none waits for another."""
    for pk in deliveries.due():
        deliver_alert.apply_async((pk,), expires=QUEUED_FOR_S)


@shared_task(ignore_result=True)
def deliver_alert(pk: int) -> None:
    """One try of one delivery."""
    deliveries.deliver(pk)


@shared_task(ignore_result=True)
def take_up_reratings() -> None:
    """Queue whatever re-rating waits for a worker, or has lost its own."""
    for pk in rerating.take_up():
        rerate.apply_async((pk,), expires=QUEUED_FOR_S)


@shared_task(ignore_result=True)
def rerate(pk: int) -> None:
    """Calculate a re-rating, or write it once it is approved."""
    if run := RerateRun.objects.filter(pk=pk).first():
        rerating.advance(run)


@shared_task(ignore_result=True)
def make_export(export_id: int) -> None:
    """Make the file of an export, and tell those who wait for it."""
    export_files.make(export_id)
    announcements.announce(export_id)


@shared_task(ignore_result=True)
def see_to_exports() -> None:
    """Order the reports that are due, and hand out what nobody works on."""
    definitions.run_due()
    if (export_id := export_files.next_one()) is not None:
        # One that no worker takes by then is handed out again: they must not pile up.
        make_export.apply_async((export_id,), expires=HAND_OUT_EVERY_S)
    announcements.announce_all()
