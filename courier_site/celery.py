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

ROLL_UP_EVERY_S = 60
RECONCILE_EVERY_S = 5 * 60
#: They are made three days ahead.
LOOK_AFTER_PARTITIONS_EVERY_S = 60 * 60
PURGE_EVERY_S = 6 * 60 * 60
LOOK_AT_BUDGETS_EVERY_S = 60
LOOK_AT_LEDGER_EVERY_S = 60
LOOK_AHEAD_EVERY_S = 5 * 60
DELIVER_EVERY_S = 10
TAKE_UP_RERATINGS_EVERY_S = 10
SEE_TO_EXPORTS_EVERY_S = 10
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
        "roll-up": {
            "task": "usage.tasks.roll_up",
            "schedule": ROLL_UP_EVERY_S,
            # While no worker runs, ticks must not pile up.
            "options": {"expires": ROLL_UP_EVERY_S},
        },
        "reconcile-lately": {
            "task": "usage.tasks.reconcile_lately",
            "schedule": RECONCILE_EVERY_S,
            "options": {"expires": RECONCILE_EVERY_S},
        },
        "reconcile-closed-days": {
            "task": "usage.tasks.reconcile_closed_days",
            # At night, when the last day's records have arrived.
            "schedule": crontab(hour="0", minute="30"),
            "options": {"expires": VISIBLE_AGAIN_AFTER_S},
        },
        "partitions": {
            "task": "usage.tasks.look_after_partitions",
            "schedule": LOOK_AFTER_PARTITIONS_EVERY_S,
            "options": {"expires": LOOK_AFTER_PARTITIONS_EVERY_S},
        },
        "purge": {
            "task": "usage.tasks.purge",
            "schedule": PURGE_EVERY_S,
            "options": {"expires": PURGE_EVERY_S},
        },
        "look-at-budgets": {
            "task": "usage.tasks.look_at_budgets",
            "schedule": LOOK_AT_BUDGETS_EVERY_S,
            "options": {"expires": LOOK_AT_BUDGETS_EVERY_S},
        },
        "look-at-ledger": {
            "task": "usage.tasks.look_at_ledger",
            "schedule": LOOK_AT_LEDGER_EVERY_S,
            "options": {"expires": LOOK_AT_LEDGER_EVERY_S},
        },
        "look-ahead": {
            "task": "usage.tasks.look_ahead",
            "schedule": LOOK_AHEAD_EVERY_S,
            "options": {"expires": LOOK_AHEAD_EVERY_S},
        },
        "deliver-alerts": {
            "task": "usage.tasks.deliver_alerts",
            "schedule": DELIVER_EVERY_S,
            "options": {"expires": DELIVER_EVERY_S},
        },
        "reratings": {
            "task": "usage.tasks.take_up_reratings",
            "schedule": TAKE_UP_RERATINGS_EVERY_S,
            "options": {"expires": TAKE_UP_RERATINGS_EVERY_S},
        },
        "see-to-exports": {
            "task": "usage.tasks.see_to_exports",
            "schedule": SEE_TO_EXPORTS_EVERY_S,
            "options": {"expires": SEE_TO_EXPORTS_EVERY_S},
        },
    },
)
app.autodiscover_tasks()


@setup_logging.connect
def log_like_the_server(**_: Any) -> None:
    """One log format in all processes, without a line for each task that went well."""
    logging.config.dictConfig(settings.LOGGING)
    for name in ("celery", "kombu"):
        logging.getLogger(name).setLevel(logging.WARNING)
