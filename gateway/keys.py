"""In what state each upstream key is: refused, out of credit, resting, with how much quota left.

What is decided here is decided from memory, on the event loop. `gateway.key_keeper` writes down
what has to last and tells the other instances, beside requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from gateway import errors
from gateway.errors import UpstreamError
from gateway.quotas import Told, told_in
from gateway.routing import Out
from registry import key_health
from registry.key_health import Board, Cooling, Gauge, Meter, Place
from registry.key_terms import KeyTerms
from registry.snapshot import Target

#: A key without credit is tried again after so long, by one request at a time.
WITHOUT_CREDIT_S = 3600.0
PROBE_S = 60.0
#: Until a refusal is written down, this is renewed.
REFUSED_S = 60.0
#: A key that worked so lately is good: a 403 then speaks of the model, or of the request.
GOOD_FOR_S = 600.0
NOT_PERMITTED_S = 60.0
#: A meter that does not say when it begins anew is believed for so long.
BELIEVED_S = 60.0
#: How fast an old pace is forgotten.
PACE_S = 120.0

REFUSED, WITHOUT_CREDIT, RATE_LIMITED = "key_refused", "key_without_credit", "key_rate_limited"
NOT_PERMITTED, QUOTA_USED_UP = "model_not_permitted", "key_quota_used_up"
BUDGET_USED_UP, TAKEN_OUT = "key_budget_used_up", "key_taken_out"


class Incident(NamedTuple):
    """Something about a key that people have to be told of, and that may have to last."""

    place: Place
    provider_name: str
    reason: str
    at: datetime
    #: When the secret in question was entered.
    entered_at: datetime


class Spent(NamedTuple):
    """What is spent of a key's budget, as it was counted last."""

    terms: KeyTerms
    spent_nano: int
    #: A moment of the board's clock; infinite: never.
    resets_at: float


class Keys:
    """What this process knows of upstream keys. Looking changes nothing."""

    def __init__(
        self, board: Board | None = None, now: Callable[[], float] = key_health.now_s
    ) -> None:
        self.board = board or Board()
        self._now = now
        self._good_at: dict[Place, float] = {}
        self._incidents: dict[tuple[Place, str], Incident] = {}
        self.spent: dict[int, Spent] = {}
        #: Called when something has to be written down soon.
        self.on_news: Callable[[], None] = _nothing

    @property
    def are_quiet(self) -> bool:
        """Whether nothing is known that would keep any key from being used."""
        return not (self.board.coolings or self.board.empty or self.spent)

    def out(self, target: Target) -> Out | None:
        """Why the target's key must not be used now; None if it may be."""
        if target.terms.out_reason:
            return Out(target.terms.out_reason, None, is_final=True)
        if self.are_quiet:
            return None
        place = _key_of(target)
        until, reason = self._rests_until(place, target)
        left = until - self._now()
        if left <= 0:
            return None
        is_known = left < math.inf and reason != REFUSED
        return Out(reason, left if is_known else None, is_final=True)

    def _rests_until(self, place: Place, target: Target) -> tuple[float, str]:
        """The longest of all that keeps the key from being used."""
        its_use = _use_of(target)
        return max(
            self._cooling(place, target.terms),
            self._cooling(its_use, target.terms),
            self._empty_until(its_use),
            self._spent_until(target),
        )

    def _cooling(self, place: Place, terms: KeyTerms) -> tuple[float, str]:
        cooling = self.board.coolings.get(place)
        if cooling is None or cooling.at < terms.entered_at.timestamp():
            return 0.0, ""
        return cooling.until, cooling.reason

    def _empty_until(self, place: Place) -> tuple[float, str]:
        if place not in self.board.empty:
            return 0.0, ""
        gauge = self.board.gauges[place]
        empty = [one.reset_at or 0.0 for one in gauge.meters.values() if not one.remaining]
        return max(empty, default=0.0), QUOTA_USED_UP

    def _spent_until(self, target: Target) -> tuple[float, str]:
        spent, terms = self.spent.get(target.key_id or 0), target.terms
        if spent is None or terms.budget_nano is None or spent.terms != terms:
            return 0.0, ""
        is_used_up = spent.spent_nano >= terms.budget_nano
        return (spent.resets_at if is_used_up else 0.0), BUDGET_USED_UP

    def quota_left(self, target: Target) -> float:
        """The smallest part that is left of a quota or the budget; 1 if nothing is known."""
        gauges = self.board.gauges
        if not gauges and not self.spent:
            return 1.0
        parts = [1.0]
        if gauge := gauges.get(_use_of(target)):
            parts += [part_left(gauge.at, one, self._now()) for one in gauge.meters.values()]
        spent, budget = self.spent.get(target.key_id or 0), target.terms.budget_nano
        if spent and budget:
            parts.append(max(1 - spent.spent_nano / budget, 0.0))
        return min(parts)

    def begin(self, target: Target) -> None:
        """An attempt begins. After a rest for lack of credit it is the probe: others wait."""
        place = _key_of(target)
        cooling = self.board.coolings.get(place)
        if cooling and cooling.until and cooling.reason == WITHOUT_CREDIT:
            self._cool(place, PROBE_S, WITHOUT_CREDIT)

    def succeeded(self, target: Target) -> None:
        place = _key_of(target)
        self._good_at[place] = self._now()
        cooling = self.board.coolings.get(place)
        if cooling and cooling.until and cooling.reason == WITHOUT_CREDIT:
            self.board.cool(place, Cooling(0.0, "", self._now()))

    def try_again(self, target: Target, begun_at: datetime) -> None:
        """Staff want it tried: what has rested since before that moment rests no longer."""
        place = _key_of(target)
        for each in (place, _use_of(target)):
            cooling = self.board.coolings.get(each)
            if cooling and cooling.until and cooling.at < begun_at.timestamp():
                self.board.cool(each, Cooling(0.0, "", self._now()))

    def learned(self, target: Target, headers: Mapping[str, str]) -> None:
        """What an answer's headers say of the quota, whatever the answer is."""
        told = told_in(headers)
        if told:
            place = _use_of(target)
            self.board.gauge(place, self._gauge(self.board.gauges.get(place), told))

    def _gauge(self, before: Gauge | None, told: Mapping[str, Told]) -> Gauge:
        now = self._now()
        meters = {}
        for subject, one in told.items():
            pace = 0.0
            if before and (former := before.meters.get(subject)):
                pace = _pace(former, one.remaining, now - before.at)
            reset_at = None if one.reset_s is None else now + one.reset_s
            meters[subject] = Meter(one.limit, one.remaining, reset_at, pace)
        return Gauge(now, meters)

    def failed(self, target: Target, error: UpstreamError) -> None:
        """What a failure says of the key. Most say nothing of it."""
        place = _key_of(target)
        match error:
            case errors.UpstreamRateLimited():
                self._cool(place, error.retry_after or 0.0, RATE_LIMITED)
            case _ if target.key_id is None:
                pass
            case errors.UpstreamOutOfCredit():
                asked = error.retry_after or WITHOUT_CREDIT_S
                self.board.cool(place, Cooling(self._now() + asked, WITHOUT_CREDIT, self._now()))
                self._tell(target, WITHOUT_CREDIT)
            case errors.UpstreamForbidden() if not self._is_of_the_key(place, error):
                self._cool(_use_of(target), NOT_PERMITTED_S, NOT_PERMITTED)
            case errors.UpstreamAuthFailed():
                self._cool(place, REFUSED_S, REFUSED)
                self._tell(target, REFUSED)

    def _is_of_the_key(self, place: Place, error: errors.UpstreamForbidden) -> bool:
        """Whether a 403 means the key itself: the provider said it, and the key did not work."""
        is_good = self._good_at.get(place, -math.inf) > self._now() - GOOD_FOR_S
        return error.is_in_its_words and not is_good

    def _cool(self, place: Place, seconds: float, reason: str) -> None:
        """Leave the key alone. A longer rest that was agreed before is not shortened."""
        now = self._now()
        former = self.board.coolings.get(place)
        if seconds > 0 and not (former and former.until > now + seconds):
            self.board.cool(place, Cooling(now + seconds, reason, now))

    def _tell(self, target: Target, reason: str) -> None:
        terms, name = target.terms, target.provider_name
        if target.key_id is not None:
            place = _key_of(target)
            told = Incident(place, name, reason, datetime.now(UTC), terms.entered_at)
            self._incidents.setdefault((place, reason), told)
            self.on_news()

    def incidents(self) -> list[Incident]:
        """What is yet to be written down, and told to people."""
        return list(self._incidents.values())

    def written(self, incident: Incident) -> None:
        self._incidents.pop((incident.place, incident.reason), None)

    def keep_out(self) -> None:
        """Renew the rest of refused keys as long as nobody could write the refusal down."""
        for incident in self._incidents.values():
            if incident.reason == REFUSED:
                self._cool(incident.place, REFUSED_S, REFUSED)

    def forget(self) -> None:
        """Know nothing, as a process that has just begun."""
        self.board.forget()
        for known in (self._good_at, self._incidents, self.spent):
            known.clear()


def part_left(told_at: float, meter: Meter, now: float) -> float:
    """The part of a quota that is left, 0 to 1. All of it once it has begun anew."""
    ends = told_at + BELIEVED_S if meter.reset_at is None else meter.reset_at
    if now >= ends or not meter.limit:
        return 1.0
    return min(meter.remaining / meter.limit, 1.0)


def _pace(former: Meter, remaining: int, seconds: float) -> float:
    """What is used per second, an average that forgets. More than before: it began anew."""
    if seconds <= 0 or remaining > former.remaining:
        return former.pace
    kept = math.exp(-seconds / PACE_S)
    return former.pace * kept + (former.remaining - remaining) / seconds * (1 - kept)


def _nothing() -> None:
    pass


def _key_of(target: Target) -> Place:
    return Place(target.provider_id, target.key_id)


def _use_of(target: Target) -> Place:
    """The key as it is used for this model."""
    return Place(target.provider_id, target.key_id, target.upstream_model)


keys = Keys(key_health.board)
