"""The Celery application and its schedule: roll-ups, and whatever need not happen at once."""

from __future__ import annotations

import logging.config
import os
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "courier_site.settings")

from django.conf import settings  # noqa: E402  # after its module is named

#: Seconds between two runs of each task.
EVERY_S = {
    "usage.tasks.roll_up": 60,
    "usage.tasks.reconcile_lately": 5 * 60,
    # They are made three days ahead.
    "usage.tasks.look_after_partitions": 60 * 60,
    "usage.tasks.purge": 6 * 60 * 60,
    "usage.tasks.look_at_budgets": 60,
    "usage.tasks.look_at_ledger": 60,
    "usage.tasks.look_ahead": 5 * 60,
    "usage.tasks.deliver_alerts": 10,
    "usage.tasks.take_up_reratings": 10,
    "usage.tasks.see_to_exports": 10,
    "gateway.tasks.take_up_certifications": 10,
    "courier_site.tasks.apply_prepared_changes": 5,
    "courier_site.tasks.purge_revisions": 6 * 60 * 60,
}
#: Longer than any task takes: Redis delivers again what is not acknowledged by then.
VISIBLE_AGAIN_AFTER_S = 4 * 60 * 60

app = Celery("courier")


def _broker() -> dict[str, Any]:
    """Redis, or on a laptop a folder: a real queue that needs no server."""
    if settings.REDIS_URL:
        options: dict[str, Any] = {
            "visibility_timeout": VISIBLE_AGAIN_AFTER_S,
            "global_keyprefix": "courier:queue:",
        }
        return {"broker_url": settings.REDIS_URL, "broker_transport_options": options}
    folder = settings.DATA_DIR / "queue"
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(folder / "control"),
        # The worker notices only between two looks that it is to stop.
        "polling_interval": 0.2,
    }
    return {"broker_url": "filesystem://localhost", "broker_transport_options": options}


def _due(name: str, schedule: int | crontab, *, expires_s: int) -> dict[str, Any]:
    """An entry of the schedule. While no worker runs, its ticks do not pile up."""
    return {
        "task": name,
        "schedule": schedule,
        "options": {"expires": expires_s},
    }


app.conf.update(
    **_broker(),
    broker_connection_retry_on_startup=True,
    accept_content=["json"],
    task_serializer="json",
    result_serializer="json",
    # Nobody asks for results; tasks keep what matters in the database.
    task_ignore_result=True,
    # A task that a dying worker left is done again: all of them are idempotent.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    timezone=settings.TIME_ZONE,
    beat_schedule_filename=str(settings.DATA_DIR / "beat-schedule"),
    beat_schedule={
        **{name: _due(name, every_s, expires_s=every_s) for name, every_s in EVERY_S.items()},
        # At night, when the last day's records have arrived.
        "usage.tasks.reconcile_closed_days": _due(
            "usage.tasks.reconcile_closed_days",
            crontab(hour="0", minute="30"),
            expires_s=VISIBLE_AGAIN_AFTER_S,
        ),
        # When least is asked of providers; only where a setting wants it.
        "gateway.tasks.certify_nightly": _due(
            "gateway.tasks.certify_nightly",
            crontab(hour="3", minute="15"),
            expires_s=VISIBLE_AGAIN_AFTER_S,
        ),
    },
)
app.autodiscover_tasks()


@setup_logging.connect
def log_like_the_server(**_: Any) -> None:
    """One log format in all processes, without a line for each task that went well."""
    logging.config.dictConfig(settings.LOGGING)
    for name in ("celery", "kombu"):
        logging.getLogger(name).setLevel(logging.WARNING)
