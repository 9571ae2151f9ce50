"""Which circuit breakers are open: the gateway reports it, the admin shows it.

With Redis, what every instance reports lies in one hash. Without, there is one process,
and its memory holds it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, cast

import orjson
import redis
from django.conf import settings

logger = logging.getLogger(__name__)

State = Literal["closed", "open", "half_open"]

HASH = "courier:health"
#: A breaker that stays open reports again; one that has not for so long is gone.
RENEWED_WITHIN = timedelta(minutes=10)
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

    def is_fresh(self) -> bool:
        return datetime.now(UTC) - self.reported_at < RENEWED_WITHIN


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


def report(
    target: tuple[int, int | None],
    provider_name: str,
    state: State,
    reason_code: str,
    at: datetime,
) -> None:
    """Tell the admin that this breaker is in `state` at that moment.

    Returns at once and never raises: sending is left to a thread, and what cannot be sent
    is dropped with a warning. A breaker that opens again has been open since the first time.
    """
    name = "/".join(map(str, target))
    field = f"{_instance()}:{name}"
    with _lock:
        before = _reports.pop(field, None)
        since = before.since if before and before.is_fresh() else at
        news = Report(name, provider_name, state, reason_code, since, datetime.now(UTC))
        if state != "closed":
            _reports[field] = news
        if settings.REDIS_URL:
            _unsent[field] = news
    if settings.REDIS_URL:
        _sender()
        _work.set()


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
    try:
        stored = cast(dict[bytes, bytes], _client(settings.REDIS_URL).hgetall(HASH))
        return [_read(value) for value in stored.values()]
    except (redis.RedisError, ValueError, TypeError, KeyError) as error:
        raise HealthUnknown(
            "Redis does not answer, or holds what this version cannot read."
        ) from error


def _read(stored: bytes) -> Report:
    fields = orjson.loads(stored)
    for name in ("since", "reported_at"):
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
    pipeline.expire(HASH, RENEWED_WITHIN)
    pipeline.execute()


@lru_cache(maxsize=2)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)


def _instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"
