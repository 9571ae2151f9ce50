"""Both stores of limits, on a clock that the test moves."""

import pytest
import redis

from accounts import admission
from accounts.limits import Settlement
from accounts.local_limits import LocalStore
from accounts.principals import Principal
from accounts.redis_limits import RedisStore
from accounts.rules import NO_RING, ROLLING, BudgetRule, Limit, Need, Rules, place_of

#: Not a multiple of any slot, so that a test never sits on an edge by accident.
NOON_US = 1_790_000_000_123_456


class Clock:
    """The time in microseconds, as the test wants it."""

    def __init__(self):
        self.now = NOON_US

    def __call__(self):
        return self.now

    def pass_s(self, seconds):
        self.now += round(seconds * 1_000_000)


#: Fixtures that keep Redis from answering, so that its deadline has to strike.
SILENT = {"frozen", "fault"}


@pytest.fixture(autouse=True)
def _redis_deadline(settings, request):
    if SILENT & set(request.fixturenames):
        settings.COURIER_REDIS_DEADLINE_S = 2.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def redis_url(redis_server):
    """An empty database of a private Redis."""
    with redis.Redis.from_url(redis_server.url()) as client:
        client.flushall()
    return redis_server.url()


@pytest.fixture
def redis_client(redis_url):
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture(params=["local", "redis"])
async def store(request, clock):
    if request.param == "local":
        made = LocalStore(clock)
    else:
        made = RedisStore(request.getfixturevalue("redis_url"), clock)
    yield made
    await made.close()


@pytest.fixture
def use_store(store, monkeypatch):
    """Let `admit` count in the store of the test."""
    monkeypatch.setattr(admission, "_store", store)
    return store


def a_limit(metric="requests", amount=10, window_s=60, scope="key:1", model=""):
    return Limit(1, scope, metric, 1 if metric == "concurrency" else window_s, amount, model)


def a_budget(amount=1000, period="day", *, number=1, rolling=False, scope="key:1", **fields):
    """A budget of so many nano-dollars."""
    time_zone = fields.get("time_zone", "UTC")
    defaults = {
        "id": number,
        "scope": scope,
        "place": place_of(number, scope, period, rolling, time_zone),
        "amount_nano": amount,
        "raises": (),
        "hard": True,
        "period": period,
        "time_zone": time_zone,
        "ring": ROLLING[period] if rolling else NO_RING,
        "counts_from_us": 0,
    }
    return BudgetRule(**defaults | fields)


def rules_of(*rules):
    """Limits and budgets, as one request has to keep to them."""
    return Rules(
        tuple(one for one in rules if isinstance(one, Limit)),
        tuple(one for one in rules if isinstance(one, BudgetRule)),
    )


def tokens(count):
    """A request that takes so many tokens, and costs nothing."""
    return Need(count, 0, 0)


def costs(nano):
    return Need(0, 0, nano)


def a_principal(*limits, **fields):
    defaults = {
        "key_id": 1,
        "key_name": "notebook",
        "public_id": "abcdefgh",
        "team_id": 1,
        "team_name": "research",
        "user_id": None,
        "user_name": "",
        "allowed_models": ("*",),
        "allowed_endpoints": ("*",),
        "expires_at": None,
        "limits": limits,
    }
    return Principal(**defaults | fields)


def by(difference, slots=(), *, cost=0, held=0, windows=()):
    """The end of a request that used so many tokens more, or fewer, than it had reserved."""
    used, reserved = Need(max(difference, 0), 0, cost), Need(max(-difference, 0), 0, held)
    return Settlement(used, reserved, slots, windows)
