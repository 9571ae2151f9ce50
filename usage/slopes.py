"""Hours that cost many times the usual one. Reads sums of hours only.

The usual hour of a key or team is the median of those of the past 14 days in which it spent
anything: nights do not make mornings unusual, and one wild hour does not make the next usual.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from statistics import median

from django.conf import settings
from django.utils import timezone

from accounts.models import ApiKey, Team
from lib.money import NANO_PER_DOLLAR
from usage.alerts import raise_alert
from usage.hours import DAY, HOUR, Hours, hour_of, hours_of, spent_in
from usage.models import Alert
from usage.money import dollars
from usage.standings import Holder, decimal_dollars, key_holder, team_holder, utc

LOOKED_BACK = timedelta(days=14)
#: Hours with spending, without which nobody knows what is usual.
FEWEST_HOURS = 12
#: One alert per key or team within this time.
QUIET = DAY


def usual_nano(hours: Hours) -> float | None:
    """What the usual hour costs; None where there are too few to tell."""
    spent = [nano for nano in hours.values() if nano > 0]
    return median(spent) if len(spent) >= FEWEST_HOURS else None


def raise_unusual() -> list[Alert]:
    """Raise what is to be told now of the last whole hour, and return it."""
    now = timezone.now()
    hour = hour_of(now) - HOUR
    told = (
        _tell(holder, hour, spent, usual, now)
        for kind in ("key", "team")
        for holder, spent, usual in _unusual(kind, hour)
    )
    return [alert for alert in told if alert]


def _unusual(kind: str, hour: datetime) -> Iterator[tuple[Holder, int, float]]:
    """Who spent unusually much in an hour, how much, and what is usual."""
    found = spent_in(kind, hour, int(settings.COURIER_SLOPE_MINIMUM * NANO_PER_DOLLAR))
    before = hours_of(kind, found, hour - LOOKED_BACK, hour)
    usual = {holder: usual_nano(hours) for holder, hours in before.items()}
    for holder in _holders(kind, found):
        its_usual = usual.get(holder.id)
        if its_usual and found[holder.id] >= settings.COURIER_SLOPE_FACTOR * its_usual:
            yield holder, found[holder.id], its_usual


def _holders(kind: str, ids: dict[int, int]) -> list[Holder]:
    if kind == "team":
        return [team_holder(team) for team in Team.objects.filter(pk__in=ids)]
    keys = ApiKey.objects.filter(pk__in=ids).select_related("team", "owner")
    return [key_holder(key) for key in keys]


def _tell(
    holder: Holder, hour: datetime, spent_nano: int, usual: float, now: datetime
) -> Alert | None:
    prefix = f"{Alert.Kind.SLOPE}:{holder.scope}:"
    newest = Alert.objects.filter(identity__startswith=prefix).order_by("-pk").first()
    if newest and newest.raised_at > now - QUIET:
        return None
    usual_cost = round(usual)
    return raise_alert(
        Alert.Kind.SLOPE,
        # Racing workers find the same one before it, of whom one can use it.
        f"{prefix}{newest.pk if newest else 0}",
        f"{holder.name} spent {dollars(spent_nano)} from {hour:%H:%M} to {hour + HOUR:%H:%M} UTC, "
        f"{spent_nano / usual:.0f} times the usual {dollars(usual_cost)} an hour.",
        {
            "scope": holder.scope,
            "name": holder.name,
            "hour": utc(hour),
            "spent_usd": decimal_dollars(spent_nano),
            "usual_usd": decimal_dollars(usual_cost),
        },
        team=holder.team,
        person=holder.person,
    )
