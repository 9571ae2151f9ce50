"""When a budget will be used up, if spending goes on as it did. Reads sums of hours only.

The pace is the mean of two: that of the last 24 hours, which follows a change within a day,
and that of the window so far, which remembers nights and weekends. Where there is less than
MINIMUM of spending to go by, nothing is foreseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice

from django.utils import timezone

from usage.alerts import raise_alert
from usage.hours import DAY, HOUR, Hours, hour_of, hours_of
from usage.models import Alert
from usage.standings import Standing, earlier, standings, utc

#: From the first hour with any spending on.
MINIMUM = timedelta(hours=6)
#: Of a window that never ends, so much is looked at.
FARTHEST_BACK = timedelta(days=31)
#: What is farther away than this is not told.
FARTHEST = timedelta(days=366)
#: Run-outs are told of after this part of the window, and if this part of it would be without.
TOLD_AFTER, WORTH_TELLING = 0.2, 0.1
#: Holders whose hours are read at once.
AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected of one budget."""

    standing: Standing
    #: In nano-dollars an hour. None: there is too little to go by.
    pace: float | None
    #: None: not as far as anyone can tell.
    runs_out_at: datetime | None
    #: How long ago the first spending was that it goes by.
    observed: timedelta

    @property
    def in_words(self) -> str:
        if self.standing.spent_nano >= self.standing.limit_nano:
            return "used up"
        if self.pace is None:
            return "unknown"
        if self.runs_out_at is None:
            return "not foreseen"
        return f"{self.runs_out_at:%Y-%m-%d %H:%M} UTC"


def pace_of(hours: Hours, start: datetime, now: datetime) -> float | None:
    """Nano-dollars an hour at which a window that began at `start` is being used. Or None."""
    first = first_of(hours, now)
    if now - first < MINIMUM:
        return None
    of_the_day = _mean(hours, max(first, hour_of(now - DAY)), now)
    of_the_window = max(first, hour_of(start))
    if now - of_the_window < MINIMUM:
        return of_the_day
    return (of_the_day + _mean(hours, of_the_window, now)) / 2


def first_of(hours: Hours, now: datetime) -> datetime:
    """The first hour with any spending; `now` where there is none."""
    return min((hour for hour, nano in hours.items() if nano), default=now)


def _mean(hours: Hours, since: datetime, now: datetime) -> float:
    spent = sum(nano for hour, nano in hours.items() if since <= hour < now)
    return spent / ((now - since) / HOUR)


def used_up_at(left_nano: int, pace: float, now: datetime) -> datetime | None:
    """When so much is spent, where nothing that was spent is ever given back."""
    if left_nano <= 0:
        return now
    if pace * (FARTHEST / HOUR) <= left_nano:
        return None
    return now + left_nano / pace * HOUR


def used_up_while_rolling(
    limit_nano: int, pace: float, hours: Hours, length: timedelta, now: datetime
) -> datetime | None:
    """When a rolling window is full, to the hour: what was spent leaves it after its length."""
    leaving = hour_of(now - length)
    level = float(sum(nano for hour, nano in hours.items() if hour >= leaving))
    for passed in range(int(length / HOUR) + 1):
        if level >= limit_nano:
            return now + passed * HOUR
        level += pace - hours.get(leaving + passed * HOUR, 0)
    return None


def forecast(standing: Standing, hours: Hours, now: datetime) -> Forecast:
    pace = pace_of(hours, standing.start, now)
    observed = now - first_of(hours, now)
    if pace is None:
        return Forecast(standing, None, None, observed)
    if standing.is_rolling:
        since = hour_of(standing.start)
        within = {hour: nano for hour, nano in hours.items() if hour >= since}
        at = used_up_while_rolling(standing.limit_nano, pace, within, standing.length, now)
        return Forecast(standing, pace, at, observed)
    at = used_up_at(standing.limit_nano - standing.spent_nano, pace, now)
    is_in_time = at is not None and (standing.end is None or at < standing.end)
    return Forecast(standing, pace, at if is_in_time else None, observed)


def forecasts(found: Sequence[Standing], now: datetime) -> Iterator[Forecast]:
    """Of each of these. One query for so many holders of a kind at once."""
    for kind, of_kind in groupby(sorted(found, key=_kind), key=_kind):
        while some := list(islice(of_kind, AT_ONCE)):
            since = min(now - DAY, *(standing.start for standing in some))
            ids = [standing.holder.id for standing in some]
            hours = hours_of(kind, ids, max(since, now - FARTHEST_BACK), now)
            for standing in some:
                yield forecast(standing, hours.get(standing.holder.id, {}), now)


def _kind(standing: Standing) -> str:
    return standing.holder.kind


def raise_run_outs() -> list[Alert]:
    """Raise what is to be told now, and return it."""
    now = timezone.now()
    candidates = [standing for standing in standings(now) if is_far_enough(standing, now)]
    told = (
        _tell(each.standing, at, now)
        for each in forecasts(candidates, now)
        if (at := early_end(each)) is not None
    )
    return [alert for alert in told if alert]


def is_far_enough(standing: Standing, now: datetime) -> bool:
    """Whether it has an end to compare with, is not used up, and there is enough to go by."""
    if standing.end is None or not 0 < standing.spent_nano < standing.limit_nano:
        return False
    since_start = now - standing.start
    return standing.is_rolling or since_start >= TOLD_AFTER * standing.length


def early_end(forecast: Forecast) -> datetime | None:
    """When it runs out, if a good part of the window is left by then: what is close may waver."""
    standing, at = forecast.standing, forecast.runs_out_at
    if standing.end is None or at is None:
        return None
    if standing.is_rolling:
        return at if forecast.observed >= TOLD_AFTER * standing.length else None
    return at if at <= standing.end - WORTH_TELLING * standing.length else None


def _tell(standing: Standing, at: datetime, now: datetime) -> Alert | None:
    """Once per window, so that a forecast that wavers does not tell again."""
    told = earlier(Alert.Kind.RUN_OUT, standing, now)
    if told.in_this_window:
        return None
    return raise_alert(
        Alert.Kind.RUN_OUT,
        told.next_identity,
        f"{standing.holder.name} will have used up {standing.words}{standing.since} at about "
        f"{at:%Y-%m-%d %H:%M} UTC if it goes on like this: {standing.used} so far.",
        standing.data(runs_out_at=utc(at)),
        team=standing.holder.team,
        person=standing.holder.person,
        budget=standing.budget,
    )
