"""When the budgets of some keys or teams will be used up, for their lists in the admin."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from django.utils import timezone

from accounts.models import ApiKey, Team
from accounts.outlook import Outlook
from usage.forecasts import Forecast, forecasts
from usage.standings import standings

NEVER = datetime.max.replace(tzinfo=UTC)


def of(rows: Sequence[ApiKey] | Sequence[Team]) -> dict[int, Outlook]:
    """Of each that has a budget, what becomes of the one that runs out first."""
    if not rows:
        return {}
    now = timezone.now()
    kind = "team" if isinstance(rows[0], Team) else "key"
    found = standings(now, scopes={f"{kind}:{row.pk}" for row in rows})
    first: dict[int, Forecast] = {}
    for forecast in sorted(forecasts(found, now), key=_urgency):
        first.setdefault(forecast.standing.holder.id, forecast)
    return {pk: _outlook(forecast) for pk, forecast in first.items()}


def _urgency(forecast: Forecast) -> tuple[datetime, float]:
    """What is used up or runs out soonest comes first, then what is used most."""
    standing = forecast.standing
    at = standing.start if _is_used_up(forecast) else forecast.runs_out_at or NEVER
    return at, -standing.spent_nano / max(standing.limit_nano, 1)


def _is_used_up(forecast: Forecast) -> bool:
    return forecast.standing.spent_nano >= forecast.standing.limit_nano


def _outlook(forecast: Forecast) -> Outlook:
    has_end = forecast.standing.end is not None
    return Outlook(
        used=f"{forecast.standing.used} of {forecast.standing.words} used",
        runs_out=forecast.in_words,
        is_short=_is_used_up(forecast) or (has_end and forecast.runs_out_at is not None),
    )
