"""Who used what in the last seven days, from the sums per day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Max, Q, QuerySet, Sum
from django.utils import timezone

from usage.models import DailyUsage

DAYS = 7
#: Keys that are named; of others it is told how many there are.
NAMED = 10


@dataclass(frozen=True, slots=True)
class KeyUse:
    key_id: int
    name: str
    team: str
    requests: int


@dataclass(frozen=True, slots=True)
class Use:
    """What a part of the traffic came to."""

    requests: int = 0
    nano: int = 0
    #: Those that used most, first.
    keys: Sequence[KeyUse] = ()

    @property
    def requests_per_day(self) -> float:
        return self.requests / DAYS

    @property
    def nano_per_day(self) -> int:
        return self.nano // DAYS

    @property
    def named(self) -> Sequence[KeyUse]:
        return self.keys[:NAMED]

    @property
    def unnamed(self) -> int:
        return len(self.keys[NAMED:])


def of(parts: Iterable[Mapping[str, Any]]) -> Use:
    """What any of these parts came to, each given by columns of the sums. None: nothing."""
    wanted = list(parts)
    if not wanted:
        return Use()
    rows = _rows(wanted)
    sums = rows.aggregate(requests=Sum("requests"), nano=Sum("cost_nano"))
    by_key = (
        rows.values("key_id")
        .annotate(name=Max("key_name"), team=Max("team_name"), count=Sum("requests"))
        .filter(count__gt=0)
        .order_by("-count", "key_id")
    )
    keys = [KeyUse(row["key_id"], row["name"], row["team"], row["count"]) for row in by_key]
    return Use(sums["requests"] or 0, sums["nano"] or 0, keys)


def requests_by_model(models: Iterable[str]) -> dict[str, int]:
    """How often each of these was asked for; those that were not are left out."""
    rows = _rows([{"model__in": list(models)}]).values("model").annotate(count=Sum("requests"))
    return {row["model"]: row["count"] for row in rows if row["count"] > 0}


def _rows(parts: Sequence[Mapping[str, Any]]) -> QuerySet[DailyUsage]:
    any_of = Q()
    for part in parts:
        any_of |= Q(**part)
    first = timezone.now().date() - timedelta(days=DAYS - 1)
    return DailyUsage.objects.filter(any_of, day__gte=first)
