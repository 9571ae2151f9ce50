"""Spending hour by hour, in the log and in its sums."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from lib.ids import lowest_at, uuid7
from tests.usage.spools import make_record
from usage.models import HourlyUsage

HOUR = timedelta(hours=1)


def series(*amounts, until):
    """What was spent in each of the hours before a moment, the last one last."""
    return {until - (len(amounts) - n) * HOUR: spent for n, spent in enumerate(amounts)}


def spend_hourly(own, key, *dollars, until):
    """Let a key spend so many dollars in each of the hours before a moment."""
    holder = {"key_id": key.pk, "team_id": key.team_id}
    for hour, cost in series(*dollars, until=until).items():
        nano = int(Decimal(str(cost)) * 10**9)
        own.record(make_record(request_id=id_at(hour), cost_nano=nano, **holder))
        HourlyUsage.objects.create(hour=hour, model="small", cost_nano=nano, **holder)
    own.ship()


def id_at(moment):
    """The id of a request of that moment."""
    return UUID(int=lowest_at(moment).int | uuid7().int & (1 << 62) - 1)
