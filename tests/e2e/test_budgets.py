"""R28: what a budget has spent and holds is never more than the budget, whatever happens."""

import asyncio
import collections
import contextlib
import random
import time

import pytest
import redis

from tests.e2e.client import BROKEN, Call, try_to_ask
from tests.e2e.courier import Courier
from tests.e2e.manifests import manifest
from tests.fakes.upstream import DONE, HELLO, OPENING, STOP, Answer, Pause, completion, usage_chunk
from tests.fakes.upstream import usage_of as usage
from tests.services import wait_for
from tests.soak import trials

CALLERS = trials(40, 100)
SECONDS = trials(8, 90)
KILLS = trials(1, 10)
#: In nano-dollars. One call costs some 50 to 500 thousand.
BUDGET = trials(40_000_000, 400_000_000)
SAMPLE_S = 0.005
#: A hold whose process was killed is given back after two minutes.
LEASE_S = 125


def answer(request):
    """As many tokens as were asked for: the most that the hold allows for."""
    words = request["messages"][0]["content"].split()
    used = usage(len(words) + 8, request["max_tokens"])
    if request.json.get("stream"):
        pause = Pause(random.uniform(0, 0.05))
        last = usage_chunk(used["prompt_tokens"], used["completion_tokens"])
        return Answer((OPENING, HELLO, pause, STOP, last, DONE))
    return Answer((completion(usage=used),), before=(Pause(random.uniform(0, 0.05)),))


@pytest.fixture(scope="module")
def couriers(launch, shared_upstream, tmp_path_factory):
    """Two gateways that share one PostgreSQL, one Redis and one budget."""
    shared_upstream.default = answer
    settings = manifest(shared_upstream.url)
    budget = {"amount": f"{BUDGET / 10**9:.6f}", "period": "total", "hard": True}
    settings["teams"] = [{"name": "research", "budgets": [budget]}]
    first = launch(settings, database="postgres")
    second = Courier(tmp_path_factory.mktemp("second"), first.database)
    for name in ("secret_key", "courier_encryption_keys", "courier_key_pepper"):
        secret = (first.directory / "secrets" / name).read_text().strip()
        second.environment[name.upper()] = secret
    yield first, second.start()
    second.stop()


class Sampler:
    """Looks at what Redis holds of the budget, again and again."""

    def __init__(self, url):
        self._redis = redis.Redis.from_url(url)
        self.samples = 0
        self.most = 0

    def look(self):
        keys = [key for key in self._redis.scan_iter("courier:budget:*") if b":leases" not in key]
        sums = []
        for key in keys:
            spent, held = self._redis.hmget(key, "spent", "reserved")
            sums.append((int(spent or 0), int(held or 0)))
        return sums

    async def run(self, stopped):
        while not stopped.is_set():
            for spent, held in self.look():
                self.samples += 1
                self.most = max(self.most, spent + held)
            await asyncio.sleep(SAMPLE_S)


async def call_until(stopped, couriers, statuses):
    while not stopped.is_set():
        words = "word " * random.randint(1, 200)
        options = {
            "stream": random.random() < 0.5,
            "max_tokens": random.randint(10, 120),
            "messages": [{"role": "user", "content": words}],
        }
        if random.random() < 0.15:
            await leave_early(random.choice(couriers), options)
            continue
        reply = await try_to_ask(random.choice(couriers), **options)
        statuses[reply.status, reply.code if reply.status == 429 else ""] += 1
        if reply.status != 200:
            await asyncio.sleep(0.1)


async def leave_early(courier, options):
    with contextlib.suppress(*BROKEN, TimeoutError):
        async with Call(courier, **options) as call:
            await asyncio.wait_for(call.read(), random.uniform(0, 0.05))


async def spend(statuses):
    """For so long, and until the budget has refused somebody."""
    await asyncio.sleep(SECONDS)
    async with asyncio.timeout(120):
        while not (statuses[429, "insufficient_quota"] and statuses[200, ""]):
            await asyncio.sleep(0.1)


async def kill_now_and_then(courier):
    for _ in range(KILLS):
        await asyncio.sleep(SECONDS / (KILLS + 1))
        courier.kill()
        await asyncio.to_thread(courier.start)


@pytest.mark.timeout(300 + 2 * SECONDS + LEASE_S)
async def test_r28_a_budget_is_never_exceeded(couriers):
    first, second = couriers
    sampler, stopped = Sampler(first.database.redis_url), asyncio.Event()
    statuses = collections.Counter()
    assert (await try_to_ask(first, max_tokens=10)).status == 200
    callers = [asyncio.create_task(call_until(stopped, couriers, statuses)) for _ in range(CALLERS)]
    sampling = asyncio.create_task(sampler.run(stopped))

    await asyncio.gather(kill_now_and_then(second), spend(statuses))
    stopped.set()
    await asyncio.gather(*callers, sampling)
    for courier in couriers:
        await asyncio.to_thread(courier.settled)

    (spent,) = first.database.query(
        "SELECT coalesce(sum(cost_nano), 0)::bigint FROM usage_usagerecord"
    )[0]
    print(f"\n{dict(statuses)}; {sampler.samples} samples, at most {sampler.most} of {BUDGET}; "
          f"the ledger says {spent}")  # fmt: skip
    assert 0 < sampler.most <= BUDGET
    assert spent <= BUDGET


@pytest.mark.timeout(LEASE_S + 300)
async def test_r29_redis_comes_to_what_the_ledger_says_and_holds_nothing(couriers):
    first, _ = couriers
    sampler, began = Sampler(first.database.redis_url), time.monotonic()
    query = "SELECT coalesce(sum(cost_nano), 0)::bigint FROM usage_usagerecord"

    def agrees():
        return sampler.look() == [(first.database.query(query)[0][0], 0)]

    await asyncio.to_thread(wait_for, agrees, "Redis to agree with the ledger", LEASE_S + 60, 0.5)
    print(f"\nagreed after {time.monotonic() - began:.0f} s")
