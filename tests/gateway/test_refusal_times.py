"""S07: how long a refusal takes tells nothing about the key that was refused.

What is compared is each key's first call, and its second, which is answered from memory. How many
look-ups there may be in a second, and how many an address may cause, is out of the way here: both
are counted alike for every key. A key that is malformed is refused sooner, which tells nobody
anything: its checksum is public.
"""

import itertools
import random
import statistics
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import keys, lookups, principals
from accounts.errors import InvalidApiKey
from accounts.lookups import Lookups
from accounts.models import ApiKey
from accounts.principals import Known
from gateway import auth
from gateway.strangers import Strangers
from tests.faults.figures import figure
from tests.gateway.conftest import in_thread
from tests.soak import trials

CALLS = trials(800, 20_000)
KINDS = ("unknown", "prefix of a key", "revoked", "expired", "expired while known")
EACH = CALLS // len(KINDS)


@pytest.fixture
def without_rates(monkeypatch):
    monkeypatch.setattr(lookups, "EVERY_S", 0.0)
    monkeypatch.setattr("gateway.strangers.TRIES", 10**9)
    monkeypatch.setattr(auth, "strangers", Strangers())
    monkeypatch.setattr(principals, "_known", Known())
    monkeypatch.setattr(principals, "_lookups", Lookups(lambda asked: principals._look_up(asked)))


def bad_keys(team):
    """Secrets of each kind."""
    ended = timezone.now() - timedelta(minutes=1)
    soon = timezone.now() + timedelta(days=1)
    found = {kind: [] for kind in KINDS}
    rows = []
    for kind, number in itertools.product(KINDS, range(EACH)):
        public_id, secret = keys._new_secret()
        row = ApiKey(team=team, name=f"{kind} {number}", public_id=public_id,
                     digest=keys.digest(secret))  # fmt: skip
        row.revoked_at = ended if kind == "revoked" else None
        row.expires_at = ended if kind.startswith("expired") else soon
        if kind != "unknown":
            rows.append(row)
        if kind == "prefix of a key":
            body = keys.PREFIX + public_id + keys._random(keys.RANDOM_LENGTH)
            secret = body + keys._checksum(body)
        found[kind].append(secret)
    ApiKey.objects.bulk_create(rows, batch_size=500)
    for row in rows:
        if row.name.startswith("expired while known"):
            principals._known.learn(row.digest, known_until(row), principals._known.generation)
    return found


def known_until(row):
    """What was known of a key before it expired."""
    return principals._known_as(row, row.digest, principals.Allowances([row]))


async def refused_within(secret):
    """The seconds until this key is refused."""
    scope = {"headers": [(b"x-api-key", secret.encode())], "query_string": b"",
             "client": ("203.0.113.7", 1)}  # fmt: skip
    began = time.perf_counter()
    try:
        await auth.principal_of(scope)
    except InvalidApiKey:
        return time.perf_counter() - began
    raise AssertionError("It was let in.")


@pytest.mark.fault
async def test_s07_how_long_a_refusal_takes_does_not_tell_why(
    transactional_db, team, without_rates
):
    found = await in_thread(bad_keys, team)
    asked = [(kind, secret) for kind, secrets in found.items() for secret in secrets]
    random.Random(7).shuffle(asked)
    took = {call: {kind: [] for kind in KINDS} for call in ("first", "second")}
    for kind, secret in asked:
        for times in took.values():
            times[kind].append(await refused_within(secret))

    for call, times in took.items():
        medians = {kind: statistics.median(each) * 1e6 for kind, each in times.items()}
        spread = max(medians.values()) / min(medians.values()) - 1
        seen = f"{call} call of {len(asked)}: medians {min(medians.values()):.0f} µs"
        figure("S07", f"{seen} and up to {spread:.1%} more", "≤ 5 %")
        print({kind: round(each, 1) for kind, each in medians.items()}, f"{spread:.1%}")
        assert spread < (0.05 if CALLS >= 20_000 else 0.5), medians
