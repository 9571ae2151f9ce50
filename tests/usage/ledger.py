"""A log for tests whose rows were written when the test says so, and its sums."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from django.db import connection
from django.utils import timezone

from lib.ids import lowest_at, uuid7
from tests.services import wait_for
from tests.usage.spools import make_adjustment
from usage import rollups
from usage.models import RollupMark, StaleHour, UsageRecord

NOON = datetime(2026, 10, 14, 12, tzinfo=UTC)
DAY = NOON.date()
COUNTS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens",
          "reasoning_tokens")  # fmt: skip


def id_at(moment):
    return UUID(int=lowest_at(moment).int | uuid7().int & (1 << 62) - 1)


def log(at=NOON, **fields):
    """A record of a request that came in then, written now."""
    facts = dict.fromkeys(COUNTS, 0) | {
        "request_id": id_at(at),
        "day": at.date(),
        "started_at": at,
        "key_id": 1,
        "key_name": "notebook",
        "team_id": 1,
        "team_name": "research",
        "operation": "chat",
        "streamed": False,
        "model_asked": "small",
        "model_served": "small",
        "provider_name": "local",
        "attempts": 1,
        "usage_source": "provider",
        "cost_nano": 1_000_000,
        "provider_cost_nano": 1_000_000,
        "total_ms": 10,
        "outcome": "ok",
        "end_reason": "complete",
        "status": 200,
    }
    record = UsageRecord.objects.create(**facts | fields)
    mark(record.started_at)
    return record


def correct(record, **fields):
    """An adjustment of a record, written now."""
    make_adjustment(record, **fields)
    mark(record.started_at)


def mark(moment):
    """As every batch does in its own transaction."""
    if connection.vendor != "postgresql":
        StaleHour.objects.create(hour=moment.replace(minute=0, second=0, microsecond=0))


def sum_up():
    """Bring the sums up to date, and let the moment pass in which more could have been known."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()::text::bigint")
            (now,) = cursor.fetchone()
        # Transactions in the databases of other tests hold the roll-up back.
        wait_for(lambda: rollups.roll_up() >= 0 and _mark().upto > now, "all to be summed")
    else:
        rollups.roll_up()
        RollupMark.objects.update(at=timezone.now() + timedelta(seconds=30))


def _mark():
    return RollupMark.objects.get()


def days_of(month):
    """From the first of a month up to the last."""
    first = date.fromisoformat(f"{month}-01")
    return first, (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
