"""Which requests are meant: the filters of the list, as they stand in its URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, TypeAlias
from uuid import UUID

from django.db.models import Sum

from usage.models import DailyUsage, UsageRecord, UsageRecordQuerySet

Narrow: TypeAlias = Callable[[UsageRecordQuerySet, str], UsageRecordQuerySet]


class UnknownFilter(ValueError):
    """Leaving it out would select more than was asked for. The text is for people."""


def selected(filters: Mapping[str, Any]) -> UsageRecordQuerySet:
    """The requests that these filters leave. Raises UnknownFilter."""
    records = UsageRecord.objects.all()
    for name, value in filters.items():
        narrow = FILTERS.get(name)
        if narrow is None:
            raise UnknownFilter(f"A file cannot be made with the filter {name!r}.")
        try:
            records = narrow(records, str(value))
        except ValueError as error:
            raise UnknownFilter(f"{value!r} does not fit the filter {name!r}.") from error
    return records


def about_how_many(filters: Mapping[str, Any]) -> int | None:
    """What the sums per day say, without a look at the log. None: they do not tell."""
    days = DailyUsage.objects.order_by()
    for name, value in filters.items():
        if name not in COLUMNS_OF_SUMS:
            return None
        days = days.filter(**{COLUMNS_OF_SUMS[name]: value})
    count: int | None = days.aggregate(sum=Sum("requests"))["sum"]
    return count or 0


def searched(records: UsageRecordQuerySet, term: str) -> UsageRecordQuerySet:
    """Exactly this id: a search for a part would read the whole log."""
    try:
        return records.filter(request_id=UUID(term.strip()))
    except ValueError:
        return records.filter(client_request_id=term.strip())


def ended(records: UsageRecordQuerySet, how: str) -> UsageRecordQuerySet:
    """By outcome, in the words that people look for."""
    match how:
        case "failed":
            return records.failed()
        case "timeout" | "upstream_cut" | "interrupted" as reason:
            return records.failed().filter(end_reason=reason)
        case "ok" | "client_disconnected" as outcome:
            return records.filter(outcome=outcome)
    return records


FILTERS: dict[str, Narrow] = {
    "key__id__exact": lambda records, value: records.filter(key_id=int(value)),
    "team__id__exact": lambda records, value: records.filter(team_id=int(value)),
    "model": lambda records, value: records.filter(model_served=value),
    "outcome": ended,
    "day_from": lambda records, value: records.from_day(date.fromisoformat(value)),
    "day_to": lambda records, value: records.until_day(date.fromisoformat(value)),
    "q": searched,
}
COLUMNS_OF_SUMS = {
    "key__id__exact": "key_id",
    "team__id__exact": "team_id",
    "model": "model",
    "day_from": "day__gte",
    "day_to": "day__lte",
}
