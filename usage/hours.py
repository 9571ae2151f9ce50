"""What keys, teams and people spent in each hour: from the sums only, never from the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from django.db.models import Q, Sum

from usage.models import HourlyUsage

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOLDERS = {"key": "key_id", "team": "team_id", "user": "user_id"}

#: Nano-dollars by the beginning of the hour, in UTC. Hours without any may be missing.
Hours = Mapping[datetime, int]


def hour_of(moment: datetime) -> datetime:
    """The beginning of its hour, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hours_of(
    kind: str, ids: Iterable[int], since: datetime, until: datetime
) -> dict[int, dict[datetime, int]]:
    """What each of these keys, teams or users spent in the hours from `since` up to `until`."""
    column = HOLDERS[kind]
    rows = HourlyUsage.objects.filter(
        Q(**{f"{column}__in": list(ids)}), hour__gte=hour_of(since), hour__lt=until
    )
    found: dict[int, dict[datetime, int]] = {}
    sums = rows.order_by().values_list(column, "hour").annotate(spent=Sum("cost_nano"))
    for holder, hour, nano in sums:
        found.setdefault(holder, {})[hour] = nano
    return found


def spent_in(kind: str, hour: datetime, at_least_nano: int) -> dict[int, int]:
    """Which keys, teams or users spent so much in one hour, and what."""
    column = HOLDERS[kind]
    rows = HourlyUsage.objects.filter(hour=hour).exclude(**{column: None})
    sums = rows.order_by().values_list(column).annotate(spent=Sum("cost_nano"))
    return dict(sums.filter(spent__gte=at_least_nano))
