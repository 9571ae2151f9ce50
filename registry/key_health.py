"""What is known of upstream keys beside their rows: until when they rest, what quota they have.

Each process has a board in memory, which is all that requests read. With Redis, boards are
shared about once a second: every instance knows what one of them was told, and one that has
just begun knows it too. Moments are seconds of this process's steady clock.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, cast

import orjson
import redis
from django.conf import settings

HASH = "courier:upstream-keys"
KEPT_S = 2 * 86400
TIMEOUT_S = 1.0
#: What has ended is kept for so long, so that all learn of it.
PAST_S = 3600.0
MOST_ENTRIES = 10_000
_DAYTIME = time.time() - time.monotonic()


def now_s() -> float:
    """Seconds since 1970, by a clock that nobody sets."""
    return _DAYTIME + time.monotonic()


class Place(NamedTuple):
    """A key, or a key's use for one upstream model."""

    provider_id: int
    #: None: of a provider that is called without a key.
    key_id: int | None
    #: Empty: all of them.
    model: str = ""


class Cooling(NamedTuple):
    """Until when a key rests, and why; until 0: no longer, whatever was told before `at`."""

    until: float
    reason: str
    at: float


class Meter(NamedTuple):
    """One limit of a provider's, as it was told last."""

    limit: int | None
    remaining: int
    #: When it begins anew, if that was told.
    reset_at: float | None
    #: What was used of it per second lately.
    pace: float = 0.0


class Gauge(NamedTuple):
    """All meters of a key with one upstream model, by what they count, and when they were told."""

    at: float
    meters: Mapping[str, Meter]


Entry = Cooling | Gauge
Field = tuple[str, Place]


class HealthUnknown(Exception):
    """What instances know of keys cannot be read or told right now."""


class Board:
    """What one process knows. Changed on one thread only."""

    def __init__(self) -> None:
        self.coolings: dict[Place, Cooling] = {}
        self.gauges: dict[Place, Gauge] = {}
        #: The places whose gauge says that something is used up. Few, so that looking is cheap.
        self.empty: set[Place] = set()
        #: What others are yet to be told.
        self._news: dict[Field, Entry] = {}

    def cool(self, place: Place, cooling: Cooling) -> None:
        # Names of models may be clients': they leave room for the keys as such.
        if not place.model or place in self.coolings or len(self.coolings) < MOST_ENTRIES:
            self.coolings[place] = cooling
            self._news["c", place] = cooling

    def gauge(self, place: Place, gauge: Gauge) -> None:
        if place in self.gauges or len(self.gauges) < MOST_ENTRIES:
            self._put(place, gauge)
            self._news["q", place] = gauge

    def _put(self, place: Place, gauge: Gauge) -> None:
        self.gauges[place] = gauge
        if all(meter.remaining for meter in gauge.meters.values()):
            self.empty.discard(place)
        else:
            self.empty.add(place)

    def forget(self) -> None:
        for known in (self.coolings, self.gauges, self.empty, self._news):
            known.clear()

    def clear(self, provider_id: int, key_id: int | None) -> None:
        """Forget what the provider said of this key, here and in all instances."""
        at = now_s()
        key = Place(provider_id, key_id)
        for place in {key, *(one for one in (*self.coolings, *self.gauges) if one[:2] == key[:2])}:
            self.cool(place, Cooling(0.0, "", at))
            if place in self.gauges:
                self.gauge(place, Gauge(at, {}))

    def take_news(self) -> dict[Field, Entry]:
        news, self._news = self._news, {}
        return news

    def take_back(self, news: Mapping[Field, Entry]) -> None:
        """Nobody was told: keep it for the next time."""
        self._news = {**news, **self._news}

    def merge(self, told: Mapping[Field, Entry]) -> None:
        """Learn what others have told. What is known better here is told again."""
        for (kind, place), theirs in told.items():
            if isinstance(theirs, Cooling):
                self._merge_cooling(kind, place, theirs)
            elif place not in self.gauges or self.gauges[place].at < theirs.at:
                self._put(place, theirs)
        if not told:
            self._tell_all()
        self._forget_past()

    def _merge_cooling(self, kind: str, place: Place, theirs: Cooling) -> None:
        mine = self.coolings.get(place)
        if mine is None or _holds_over(theirs, mine):
            self.coolings[place] = theirs
        elif _holds_over(mine, theirs):
            self._news[kind, place] = mine

    def _tell_all(self) -> None:
        """Nothing is known where all is shared: it has begun anew."""
        mine: dict[Field, Entry] = {("c", place): one for place, one in self.coolings.items()}
        mine |= {("q", place): one for place, one in self.gauges.items()}
        self._news = {**mine, **self._news}

    def _forget_past(self) -> None:
        past = now_s() - PAST_S
        for place in [one for one, cooling in self.coolings.items() if _end(cooling) < past]:
            del self.coolings[place]
        for place in [one for one, gauge in self.gauges.items() if _end(gauge) < past]:
            del self.gauges[place]
            self.empty.discard(place)


def _holds_over(one: Cooling, other: Cooling) -> bool:
    """The longer of two rests counts; the end of one ends what was told before."""
    if one.until and other.until:
        return one.until > other.until
    return one.at > other.at


def _end(entry: Entry) -> float:
    if isinstance(entry, Cooling):
        return max(entry.until, entry.at)
    return max([entry.at, *(meter.reset_at or 0.0 for meter in entry.meters.values())])


#: Of this process.
board = Board()


def exchange(news: Mapping[Field, Entry]) -> dict[Field, Entry]:
    """Tell Redis the news, and return what all have told. Synchronous. Raises HealthUnknown."""
    try:
        client = _client(settings.REDIS_URL)
        seconds, micros = client.time()
        ahead = seconds + micros / 1e6 - now_s()
        pipeline = client.pipeline(transaction=False)
        for field, entry in news.items():
            pipeline.hset(HASH, _name(field), _written(_moved(entry, ahead)))
        pipeline.expire(HASH, KEPT_S)
        pipeline.hgetall(HASH)
        stored = cast(dict[bytes, bytes], pipeline.execute()[-1])
        told = {field: _moved(entry, -ahead) for field, entry in _readable(stored)}
        _drop(client, told)
    except (redis.RedisError, OSError) as error:
        raise HealthUnknown("Redis does not answer.") from error
    return told


def look() -> Board:
    """What is known now, for pages: asked from any thread. Raises HealthUnknown."""
    if not settings.REDIS_URL:
        return board
    seen = Board()
    seen.merge(exchange({}))
    return seen


def clear(provider_id: int, key_id: int) -> None:
    """Let all instances forget what the provider said of this key. Raises HealthUnknown."""
    seen = look()
    seen.clear(provider_id, key_id)
    if settings.REDIS_URL:
        exchange(seen.take_news())


def _drop(client: redis.Redis, told: dict[Field, Entry]) -> None:
    past = now_s() - PAST_S
    ended = [field for field, entry in told.items() if _end(entry) < past]
    if ended:
        client.hdel(HASH, *map(_name, ended))
    for field in ended:
        del told[field]


def _readable(stored: Mapping[bytes, bytes]) -> Iterator[tuple[Field, Entry]]:
    """What this version can read: another, which runs beside it for a while, may write more."""
    for name, value in stored.items():
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            yield _field(name), _read(value)


def _name(field: Field) -> str:
    kind, place = field
    return f"{kind}/{place.provider_id}/{place.key_id or 0}/{place.model}"


def _field(name: bytes) -> Field:
    kind, provider_id, key_id, model = name.decode().split("/", 3)
    return kind, Place(int(provider_id), int(key_id) or None, model)


def _moved(entry: Entry, by: float) -> Entry:
    """The same by another clock."""
    if isinstance(entry, Cooling):
        return entry._replace(until=entry.until + by if entry.until else 0.0, at=entry.at + by)
    meters = {
        name: one._replace(reset_at=None if one.reset_at is None else one.reset_at + by)
        for name, one in entry.meters.items()
    }
    return Gauge(entry.at + by, meters)


def _written(entry: Entry) -> bytes:
    if isinstance(entry, Cooling):
        return orjson.dumps(list(entry))
    return orjson.dumps([entry.at, {name: list(one) for name, one in entry.meters.items()}])


def _read(stored: bytes) -> Entry:
    told: list[Any] = orjson.loads(stored)
    if len(told) == len(Cooling._fields):
        return Cooling(float(told[0]), str(told[1]), float(told[2]))
    at, meters = told
    return Gauge(float(at), {name: Meter(*meter) for name, meter in meters.items()})


@lru_cache(maxsize=2)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
