"""Whether there is usage of a key, team or person: what has some is archived, never deleted."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from accounts.models import ApiKey, Team, User
from usage.models import DailyUsage, UsageRecord

COLUMNS = {ApiKey: "key_id", Team: "team_id", User: "user_id"}
#: Records have no index by user. Those of the last days may not be summed yet.
NOT_SUMMED_YET = timedelta(days=2)


def has_usage(row: ApiKey | Team | User) -> bool:
    """Whether the log, or the sums that outlive it, have requests of this row."""
    of_row = {COLUMNS[type(row)]: row.pk}
    records = UsageRecord.objects.filter(**of_row)
    if isinstance(row, User):
        records = records.since(timezone.now() - NOT_SUMMED_YET)
    return DailyUsage.objects.filter(**of_row).exists() or records.exists()
