"""S-35: keys, cookies and connections of one tenant never serve another."""

import asyncio
import contextlib
import random

from django.db import transaction

from tests import factories
from tests.e2e.client import BROKEN, Call
from tests.fakes.upstream import DONE, OPENING, STOP, Answer, Pause, chunk, completion
from tests.faults.figures import figure
from tests.gateway.conftest import until
from tests.soak import trials

TENANTS = 50
EACH = trials(6, 100)
AT_ONCE = 15


def secret_of(tenant):
    return f"sk-upstream-of-tenant-{tenant}"


def make_tenants(base_url):
    """A provider with its own upstream key, a model and a client's key for each."""
    keys = []
    for tenant in range(TENANTS):
        provider = factories.make_provider(f"tenant-{tenant}", base_url=base_url)
        factories.make_upstream_key(provider, secret_of(tenant))
        factories.make_model(f"model-{tenant}", provider)
        keys.append(factories.make_key(allowed_models=[f"model-{tenant}"]))
    return keys


class Tells:
    """Answers with whose key came, sets a cookie for it, and notes whatever does not fit."""

    def __init__(self):
        self.wrong = []
        self.asked = 0

    def __call__(self, request):
        self.asked += 1
        tenant = request["model"].removeprefix("model-")
        if request.headers["authorization"] != f"Bearer {secret_of(tenant)}":
            self.wrong.append((tenant, request.headers["authorization"]))
        if "cookie" in request.headers:
            self.wrong.append((tenant, request.headers["cookie"]))
        cookie = {"Set-Cookie": f"session=of-{tenant}; Path=/"}
        said = f"For tenant {tenant}."
        if request.json.get("stream"):
            parts = (OPENING, chunk(said), Pause(0.01), STOP, DONE)
            return Answer(parts, headers=cookie)
        return Answer((completion(said),), headers=cookie, before=(Pause(random.uniform(0, 0.02)),))


async def ask(courier, keys, number, chance):
    """One request, every third of them left at some moment. Whether the answer is its tenant's."""
    tenant = number % TENANTS
    body = {"model": f"model-{tenant}", "stream": number % 2 == 0}
    with contextlib.suppress(*BROKEN, TimeoutError):
        async with Call(courier, key=keys[tenant].secret, **body) as call:
            if number % 3 == 0:
                await asyncio.wait_for(call.read(), chance.uniform(0, 0.03))
            reply = await call.read() if not call.reply.ended else call.reply
            if reply.status == 503:
                return None  # The machine that runs the tests is busy, and Courier says so.
            assert reply.status == 200, reply.body
            return f"For tenant {tenant}.".encode() in reply.body
    return None


async def test_s35_no_tenant_is_served_with_another_s_key_or_connection(courier, upstream):
    tells = upstream.default = Tells()
    keys = await courier.make(transaction.atomic(lambda: make_tenants(upstream.url)))
    chance, places = random.Random(35), asyncio.Semaphore(AT_ONCE)

    async def one(number):
        async with places:
            return await ask(courier, keys, number, chance)

    numbers = list(range(TENANTS * EACH))
    chance.shuffle(numbers)
    own = await asyncio.gather(*(one(number) for number in numbers))
    await until(lambda: not upstream.busy_connections)

    seen = (
        f"{tells.asked} upstream calls, {own.count(None)} left early, {len(tells.wrong)} mixed up"
    )
    figure("S-35", seen, "0")
    assert (tells.wrong, own.count(False)) == ([], 0)
    assert own.count(True) > TENANTS
    assert upstream.served.total() > upstream.open_connections  # connections were used again
