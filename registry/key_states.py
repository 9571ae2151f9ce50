"""In what state an upstream key is, in words: the same on every page."""

from __future__ import annotations

from datetime import UTC, datetime

from lib.money import NANO_PER_DOLLAR
from registry import conditions
from registry.conditions import Condition
from registry.key_figures import Figures
from registry.key_health import Board, Cooling, Gauge, HealthUnknown, Meter, look, now_s
from registry.models import UpstreamKey

USED = Condition("in use", "success")
OFF = Condition("off", "plain", "It is switched off.")
UNREADABLE = Condition(
    "unreadable", "danger", "No configured encryption key opens it. Enter it again."
)
#: What takes a key out for good, as its row tells.
REFUSED, TAKEN_OUT = "key_refused", "key_taken_out"
OUT_FOR_GOOD = {
    REFUSED: "the provider refused it. Change its secret, or put it back",
    TAKEN_OUT: "an administrator took it out. Put it back to use it again",
}
#: What lets it rest for a while, as instances tell: a word, how bad it is, and why.
RESTS = {
    "key_refused": ("out", "danger", "The provider refused it"),
    "key_without_credit": ("no credit", "danger", "Its account has no credit left. Tried again"),
    "key_rate_limited": ("cooling", "warning", "The provider asked to wait. Used again"),
}
#: Meters that are told of one key, at most.
MOST_TOLD = 3


def known() -> Board | None:
    """What instances know of keys; None where that cannot be read."""
    try:
        return look()
    except HealthUnknown:
        return None


def condition(key: UpstreamKey, board: Board | None, figures: Figures | None = None) -> Condition:
    """The state of a key, and why."""
    if not conditions.opens(key):
        return UNREADABLE
    if not key.enabled:
        return OFF
    if key.out_since:
        why = OUT_FOR_GOOD.get(key.out_reason, OUT_FOR_GOOD[REFUSED])
        return Condition("out", "danger", f"Since {conditions.clock(key.out_since)}: {why}.")
    if figures and key.budget is not None and figures.spent_nano >= key.budget * NANO_PER_DOLLAR:
        until = f" until {conditions.clock(figures.ends_at)}" if figures.ends_at else " for good"
        return Condition("budget used up", "danger", f"It is not used{until}.")
    if board is None:
        return Condition("unknown", "warning", "What instances know of it cannot be read now.")
    return _rest(key, board) or _empty(key, board) or USED


def _rest(key: UpstreamKey, board: Board) -> Condition | None:
    cooling = cooling_of(key, board)
    if cooling is None or cooling.until <= now_s() or cooling.reason not in RESTS:
        return None
    word, level, why = RESTS[cooling.reason]
    return Condition(word, level, f"{why} in {_span(cooling.until - now_s())}.")  # type: ignore[arg-type]  # a Level


def cooling_of(key: UpstreamKey, board: Board) -> Cooling | None:
    """The rest of the whole key, unless it was told of a secret before this one."""
    cooling = board.coolings.get((key.provider_id, key.pk, ""))  # type: ignore[call-overload]
    return cooling if cooling and cooling.at >= key.changed_at.timestamp() else None


def _empty(key: UpstreamKey, board: Board) -> Condition | None:
    for model, _, name, meter in _meters(key, board):
        if not meter.remaining and (meter.reset_at or 0) > now_s():
            left = _span((meter.reset_at or 0) - now_s())
            told = f"No {name or 'quota'} left for {model}. Used again in {left}."
            return Condition("quota used up", "warning", told)
    return None


def quota(key: UpstreamKey, board: Board | None) -> list[str]:
    """What is left of the quotas that the provider has told of, in sentences; the least first."""
    if board is None:
        return []
    return [_told(*each) for each in _meters(key, board)[:MOST_TOLD]]


def _meters(key: UpstreamKey, board: Board) -> list[tuple[str, Gauge, str, Meter]]:
    """Those that still say something, the one with the smallest part left first."""
    now = now_s()
    found = [
        (place.model, gauge, name, meter)
        for place, gauge in list(board.gauges.items())
        if (place.provider_id, place.key_id) == (key.provider_id, key.pk)
        for name, meter in gauge.meters.items()
        if meter.limit and (meter.reset_at or gauge.at + 60) > now
    ]
    return sorted(found, key=lambda each: each[3].remaining / (each[3].limit or 1))


def _told(model: str, gauge: Gauge, name: str, meter: Meter) -> str:
    part = round(100 * meter.remaining / (meter.limit or 1))
    until = f" until {_moment(meter.reset_at)}" if meter.reset_at else ""
    return f"{part}% of {name or 'quota'} left{until} ({model}){_forecast(gauge, meter)}"


def _forecast(gauge: Gauge, meter: Meter) -> str:
    """Whether it is used up before it begins anew, if all goes on as lately."""
    if meter.pace <= 0 or meter.reset_at is None or not meter.remaining:
        return ""
    ends = gauge.at + meter.remaining / meter.pace
    left = ends - now_s()
    return f"; at this pace used up in {_span(max(left, 0))}" if ends < meter.reset_at else ""


def budget(key: UpstreamKey, figures: Figures | None) -> str:
    """How much of the budget is used, and when it ends."""
    if key.budget is None:
        return "none"
    period = {"day": "today", "month": "this month", "total": "in all"}[key.budget_period]
    if figures is None:
        return f"${key.budget:,.2f} {period}"
    spent = figures.spent_nano / NANO_PER_DOLLAR
    part = f" ({spent * 100 / float(key.budget):.0f}%)" if key.budget else ""
    told = f"${spent:,.2f} of ${key.budget:,.2f} used {period}{part}"
    if figures.runs_out_at is None:
        return told
    return f"{told}, ends about {figures.runs_out_at.astimezone(UTC):%A, %d %B, %H:%M} UTC"


def limits(key: UpstreamKey) -> str:
    """The key's own limits, in short."""
    told = (
        (key.requests_per_minute, "requests/min"),
        (key.tokens_per_minute, "tokens/min"),
        (key.concurrency, "at once"),
    )
    return ", ".join(f"{amount:,} {unit}" for amount, unit in told if amount) or "none"


def bounds(key: UpstreamKey) -> str:
    """All that the key has to keep to, in short."""
    told = [] if limits(key) == "none" else [limits(key)]
    told += [", ".join(key.allowed_models)] if key.allowed_models else []
    told += [f"${key.budget:,.2f} per {key.budget_period}"] if key.budget is not None else []
    return "; ".join(told) or "none yet"


def _moment(seconds: float) -> str:
    return conditions.clock(datetime.fromtimestamp(seconds, UTC))


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{round(seconds / 3600)} h"
