"""What a provider's headers say of the quota that is left to a key. Pure, and of no vendor.

Vendors name these headers alike, in one order of words or another: a word that ends in
`ratelimit`, one of `limit`, `remaining` and `reset`, and what is limited. So
`x-ratelimit-remaining-tokens` (OpenAI, Azure, Groq and many others),
`anthropic-ratelimit-input-tokens-remaining` and `x-ratelimit-limit-req-minute` (Mistral) are
read by one rule, and so are those of vendors to come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

MARK = "ratelimit"
ROLES = frozenset({"limit", "remaining", "reset"})
#: Limits of one answer that are looked at, at most.
MOST_LIMITS = 16
LONGEST_SUBJECT = 40
LONGEST_S = 31 * 86400.0
#: Numbers from here on are moments since 1970, in seconds and in milliseconds.
EPOCH_S, EPOCH_MS = 1e9, 1e12
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_WHOLE = re.compile(r"\d{1,15}")
#: As Go writes durations: `6m0s`, `2m59.56s`, `120ms`.
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h|d)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_UNITS |= {"m": 60.0, "h": 3600.0, "d": 86400.0}


class Told(NamedTuple):
    """What an answer says of one limit."""

    limit: int | None
    remaining: int
    #: Seconds until it begins anew, or is whole again; None if it does not say.
    reset_s: float | None


def told_in(headers: Mapping[str, str], now: datetime | None = None) -> dict[str, Told]:
    """What is left of each limit that the headers name, such as `requests` or `input tokens`."""
    if not any(MARK in name for name in headers):
        return {}
    now = now or datetime.now(UTC)
    told = {
        subject: Told(_whole(parts.get("limit")), remaining, seconds_until(parts.get("reset"), now))
        for subject, parts in _by_subject(headers).items()
        if (remaining := _whole(parts.get("remaining"))) is not None
    }
    # A limit of nothing is how some servers say that there is none.
    return {subject: one for subject, one in told.items() if one.limit != 0}


def _by_subject(headers: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        before, _, after = name.lower().partition(MARK)
        words = after.partition("-")[2].split("-")
        roles = [word for word in words if word in ROLES]
        if len(roles) != 1 or before.strip("-").count("-") > 1:
            continue
        subject = " ".join(word for word in words if word not in ROLES)[:LONGEST_SUBJECT]
        if subject in found or len(found) < MOST_LIMITS:
            found.setdefault(subject, {})[roles[0]] = value.strip()
    return found


def _whole(value: str | None) -> int | None:
    return int(value) if value and _WHOLE.fullmatch(value) else None


def seconds_until(value: str | None, now: datetime) -> float | None:
    """Seconds until a moment told as a duration, as seconds, or as a time (RFC 3339, epoch)."""
    if not value:
        return None
    seconds = _duration(value)
    if seconds is None:
        seconds = _until_moment(value, now)
    return None if seconds is None else min(max(seconds, 0.0), LONGEST_S)


def _duration(value: str) -> float | None:
    if _NUMBER.fullmatch(value):
        number = float(value)
        return number if number < EPOCH_S else None
    parts = _PART.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _until_moment(value: str, now: datetime) -> float | None:
    if _NUMBER.fullmatch(value):
        number = float(value)
        return (number / 1000 if number >= EPOCH_MS else number) - now.timestamp()
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - now).total_seconds()
