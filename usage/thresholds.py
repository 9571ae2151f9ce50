"""Percentages of budgets that were passed: each is told of once per window."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from usage.alerts import raise_alert
from usage.models import Alert
from usage.standings import Standing, earlier, standings

#: Requests of a window may reach the ledger so long after its end, and are still told of.
LATE = timedelta(minutes=10)


def raise_passed() -> list[Alert]:
    """Raise what is to be told now, and return it."""
    now = timezone.now()
    told = (tell(standing, now) for standing in standings(now, late=LATE))
    return [alert for alert in told if alert]


def passed(standing: Standing) -> int | None:
    """The highest of the budget's percentages that was passed."""
    if standing.limit_nano <= 0 or standing.spent_nano <= 0:
        return None
    used = standing.spent_nano * 100
    reached = [p for p in standing.budget.thresholds if used >= p * standing.limit_nano]
    return max(reached, default=None)


def tell(standing: Standing, now: datetime) -> Alert | None:
    """Tell of the highest percentage, unless it or a higher one was told of in this window.

    The lower ones are told with it. After a raise they may be passed again, which is no news
    in the same window.
    """
    percent = passed(standing)
    if percent is None:
        return None
    told = earlier(Alert.Kind.THRESHOLD, standing, now)
    if any(alert.data["percent"] >= percent for alert in told.in_this_window):
        return None
    return raise_alert(
        Alert.Kind.THRESHOLD,
        f"{told.next_identity}:{percent}",
        _text(standing),
        standing.data(percent=percent),
        team=standing.holder.team,
        person=standing.holder.person,
        budget=standing.budget,
    )


def _text(standing: Standing) -> str:
    share = standing.spent_nano * 100 // standing.limit_nano
    return (
        f"{standing.holder.name} has used {share} % of {standing.words}{standing.since}: "
        f"{standing.used}."
    )
