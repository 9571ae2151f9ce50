"""Which circuit breakers are open: the gateway reports it, the admin and other instances read it.

With Redis, what every instance reports lies in one hash, and each reads it twice a second
beside its requests. Without, there is one process, and its memory holds it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, cast

import orjson
import redis
from django.conf import settings

logger = logging.getLogger(__name__)

State = Literal["closed", "open", "half_open"]

TargetId = tuple[int, int | None]

HASH = "courier:health"
#: What each instance tells of its traffic, and how long that says something.
FLOWS = "courier:flows"
FLOWS_FOR = timedelta(seconds=5)
#: How long one instance's report of its probe keeps the others away.
PROBE_FOR = timedelta(seconds=10)
#: A breaker that stays open reports again; one that has not for so long is gone.
RENEWED_WITHIN = timedelta(minutes=10)
#: No pause is longer.
LONGEST = timedelta(hours=1)
TIMEOUT_S = 2


class HealthUnknown(Exception):
    """The place where breakers are reported cannot be read right now."""


@dataclass(frozen=True, slots=True)
class Report:
    """One breaker of one instance: its state, since when, and why."""

    target: str
    provider_name: str
    state: State
    reason_code: str
    since: datetime
    reported_at: datetime
    #: Until when the target is left alone, if that is known.
    until: datetime | None = None
    #: Why the provider itself has asked for it: a code; empty if it has not.
    asked_by: str = ""

    def is_fresh(self) -> bool:
        return max(self.reported_at + RENEWED_WITHIN, self.ends_at()) > datetime.now(UTC)

    def ends_at(self) -> datetime:
        """When it stops to keep other instances away from the target."""
        probes_until = self.reported_at + (PROBE_FOR if self.state == "half_open" else timedelta())
        return self.until or probes_until

    def left_s(self) -> float:
        """Seconds until then. Clocks of hosts that differ make no pause longer than it was."""
        whole = self.ends_at() - self.reported_at
        return min(self.ends_at() - datetime.now(UTC), whole).total_seconds()


@dataclass(slots=True)
class Flow:
    """The traffic of one provider: of one instance, or of all."""

    in_flight: int = 0
    #: Requests of the last minute that were meant for it, and those that others have served.
    meant: int = 0
    moved: int = 0
    #: How it failed last in that time: a code.
    last_error: str = ""
    last_error_at: float = 0.0

    def add(self, other: Flow) -> None:
        self.in_flight += other.in_flight
        self.meant += other.meant
        self.moved += other.moved
        if other.last_error_at > self.last_error_at:
            self.last_error, self.last_error_at = other.last_error, other.last_error_at


Flows = Mapping[str, Flow]


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """The breakers of one provider, over all instances."""

    state: State
    since: datetime
    reason_code: str
    #: How many of its targets are not closed.
    affected: int


_lock = threading.Lock()
#: Of this process: breakers that are not closed, and what Redis is yet to be told.
_reports: dict[str, Report] = {}
_unsent: dict[str, Report] = {}
_work = threading.Event()


#: What other instances have reported, by target: of several, what lasts longest.
_elsewhere: Mapping[TargetId, Report] = {}
#: What this process tells of its own traffic.
_flows: Flows = {}


def report(
    target: TargetId,
    provider_name: str,
    state: State,
    reason_code: str,
    at: datetime,
    until: datetime | None = None,
    asked_by: str = "",
) -> None:
    """Tell the admin and the other instances that this breaker is in `state` at that moment.

    Returns at once and never raises: sending is left to a thread, and what cannot be sent
    is dropped with a warning. A breaker that opens again has been open since the first time.
    """
    name = "/".join(map(str, target))
    field = f"{_instance()}:{name}"
    with _lock:
        before = _reports.pop(field, None)
        since = before.since if before and before.is_fresh() else at
        now = datetime.now(UTC)
        news = Report(name, provider_name, state, reason_code, since, now, until, asked_by)
        if state != "closed":
            _reports[field] = news
        if settings.REDIS_URL:
            _unsent[field] = news
    if settings.REDIS_URL:
        _sender()
        _work.set()


def share(flows: Flows) -> None:
    """Tell what this instance's traffic is, and learn what others know. Raises HealthUnknown."""
    global _flows  # noqa: PLW0603  # the one place where it is replaced
    _flows = flows
    if not settings.REDIS_URL:
        return
    told = {"at": time.time(), "providers": {name: asdict(flow) for name, flow in flows.items()}}
    try:
        pipeline = _client(settings.REDIS_URL).pipeline(transaction=False)
        pipeline.hset(FLOWS, _instance(), orjson.dumps(told).decode())
        pipeline.expire(FLOWS, FLOWS_FOR)
        pipeline.execute()
    except redis.RedisError as error:
        raise HealthUnknown("Redis does not answer.") from error
    learn()


def flows() -> Flows:
    """The traffic of each provider, over all instances. Raises HealthUnknown."""
    if not settings.REDIS_URL:
        return _flows
    try:
        stored = cast(dict[bytes, bytes], _client(settings.REDIS_URL).hgetall(FLOWS))
        return _summed_up([orjson.loads(each) for each in stored.values()])
    except (redis.RedisError, ValueError, TypeError, KeyError) as error:
        raise HealthUnknown("Redis does not answer, or another version has written.") from error


def _summed_up(told: Iterable[dict[str, Any]]) -> Flows:
    """What instances that are alive tell, taken together."""
    oldest = time.time() - FLOWS_FOR.total_seconds()
    sums: dict[str, Flow] = {}
    for instance in told:
        if instance["at"] > oldest:
            for name, flow in instance["providers"].items():
                sums.setdefault(name, Flow()).add(Flow(**flow))
    return sums


def is_quiet_elsewhere() -> bool:
    """Whether no other instance has reported anything, as far as this one has heard."""
    return not _elsewhere


def elsewhere(target: TargetId) -> Report | None:
    """What another instance has reported of the target, as far as this one has heard."""
    return _elsewhere.get(target)


def learn() -> None:
    """Read what the other instances have reported. Raises HealthUnknown."""
    global _elsewhere  # noqa: PLW0603  # the one place where it is replaced
    heard: dict[TargetId, Report] = {}
    own = f"{_instance()}:"
    for name, known in _stored().items():
        if name.startswith(own) or not known.is_fresh():
            continue
        target = _target_id(known.target)
        before = heard.get(target)
        if before is None or before.ends_at() < known.ends_at():
            heard[target] = known
    _elsewhere = heard


def _target_id(name: str) -> TargetId:
    route, _, key = name.partition("/")
    return int(route), None if key == "None" else int(key)


def states() -> dict[str, ProviderHealth]:
    """Providers with a breaker that is not closed, by name. Raises HealthUnknown."""
    by_provider: dict[str, list[Report]] = {}
    for known in _known():
        if known.is_fresh():
            by_provider.setdefault(known.provider_name, []).append(known)
    return {name: _summary(reports) for name, reports in by_provider.items()}


def _summary(reports: list[Report]) -> ProviderHealth:
    worst = min(reports, key=lambda known: (known.state != "open", known.since))
    affected = len({known.target for known in reports})
    return ProviderHealth(worst.state, worst.since, worst.reason_code, affected)


def _known() -> Iterable[Report]:
    if not settings.REDIS_URL:
        with _lock:
            return list(_reports.values())
    return _stored().values()


def _stored() -> dict[str, Report]:
    """What every instance has reported, by instance and target."""
    try:
        stored = cast(dict[bytes, bytes], _client(settings.REDIS_URL).hgetall(HASH))
        return {name.decode(): _read(value) for name, value in stored.items()}
    except (redis.RedisError, ValueError, TypeError, KeyError) as error:
        raise HealthUnknown(
            "Redis does not answer, or holds what this version cannot read."
        ) from error


def _read(stored: bytes) -> Report:
    fields = orjson.loads(stored)
    for name in ("since", "reported_at", "until"):
        if fields.get(name):
            fields[name] = datetime.fromisoformat(fields[name])
    return Report(**fields)


@lru_cache(maxsize=1)
def _sender() -> threading.Thread:
    thread = threading.Thread(target=_send_forever, name="courier-health", daemon=True)
    thread.start()
    return thread


def _send_forever() -> None:
    failing = False
    while True:
        _work.wait()
        _work.clear()
        with _lock:
            news = dict(_unsent)
            _unsent.clear()
        try:
            _send(news)
            failing = False
        except Exception as error:  # noqa: BLE001  # the gateway serves on, whatever this is
            if not failing:
                logger.warning("breaker states not reported: %s", type(error).__name__)
            failing = True


def _send(news: dict[str, Report]) -> None:
    pipeline = _client(settings.REDIS_URL).pipeline(transaction=False)
    for field, known in news.items():
        if known.state == "closed":
            pipeline.hdel(HASH, field)
        else:
            pipeline.hset(HASH, field, orjson.dumps(known).decode())
    pipeline.expire(HASH, LONGEST)
    pipeline.execute()


@lru_cache(maxsize=2)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"
