"""Upstream keys over two instances: limits hold in all together, and what one was told all know."""

import asyncio
import collections
import time

import pytest

from tests.e2e.client import Call, ask_patiently
from tests.e2e.courier import Courier
from tests.e2e.manifests import KEY, manifest, model
from tests.fakes.upstream import HELLO, OPENING, STALL, completion, error_body
from tests.faults.figures import figure
from tests.services import wait_for

LIMIT = 200
#: Of each instance.
CLIENTS = 20
LEASE_S = 60


def provider(name, url, **terms):
    key = {"name": "first", "secret": f"sk-{name}-0123456789", **terms}
    return {"name": name, "kind": "openai_compatible", "base_url": url, "keys": [key]}


@pytest.fixture(scope="module")
def couriers(launch, shared_upstream, tmp_path_factory):
    """Two gateways that share one PostgreSQL and one Redis."""
    settings, url = manifest(shared_upstream.url), shared_upstream.url
    settings["providers"] += [
        provider("paced", url, limits={"rpm": LIMIT}),
        provider("resting", url),
        provider("refused", url),
        provider("narrow", url, limits={"concurrency": 1}),
    ]
    names = ("paced", "resting", "refused", "narrow")
    settings["models"] += [model(name, name, max_attempts=1) for name in names]
    first = launch(settings, database="postgres")
    second = Courier(tmp_path_factory.mktemp("second"), first.database)
    for name in ("secret_key", "courier_encryption_keys", "courier_key_pepper"):
        secret = (first.directory / "secrets" / name).read_text().strip()
        second.environment[name.upper()] = secret
    yield first, second.start()
    second.stop()


@pytest.fixture(autouse=True)
def _upstream_answers(shared_upstream):
    shared_upstream.forget()
    shared_upstream.always(completion())


async def ask(courier, name):
    return await ask_patiently(courier, key=KEY, model=name)


async def until_told(courier, name, status):
    """Until this instance refuses by itself what another was told of. The upstream would not."""
    async with asyncio.timeout(60):
        while (await ask(courier, name)).status != status:
            await asyncio.sleep(0.1)


async def test_r27_a_limit_of_an_upstream_key_is_shared_by_all_instances(couriers, shared_upstream):
    asked = iter(range(LIMIT + 50))
    by_status = collections.Counter()

    async def client(courier):
        for _ in asked:
            by_status[(await ask(courier, "paced")).status] += 1

    await asyncio.gather(*(client(courier) for courier in couriers for _ in range(CLIENTS)))

    figure("R27", f"{len(shared_upstream.requests)} calls by one upstream key", f"{LIMIT} exactly")
    assert by_status == {200: LIMIT, 429: 50}
    assert len(shared_upstream.requests) == LIMIT


async def test_a_pause_that_one_instance_was_told_of_is_kept_by_all(couriers, shared_upstream):
    first, second = couriers
    shared_upstream.always(error_body(), status=429, headers={"retry-after": "600"})
    await ask(first, "resting")
    shared_upstream.always(completion())
    await until_told(second, "resting", 429)
    shared_upstream.forget()

    reply = await ask(second, "resting")

    assert (reply.status, shared_upstream.requests) == (429, [])
    assert 60 < int(reply.headers["retry-after"]) <= 600


async def test_a_key_that_one_instance_saw_refused_is_out_in_all(couriers, shared_upstream):
    first, second = couriers
    shared_upstream.always(error_body(), status=401)
    await ask(first, "refused")
    shared_upstream.always(completion())
    await until_told(second, "refused", 502)
    shared_upstream.forget()

    replies = [await ask(courier, "refused") for courier in couriers]

    assert [reply.status for reply in replies] == [502, 502]
    assert shared_upstream.requests == []
    alerts = await asyncio.to_thread(wait_for, lambda: alerts_of(second), "the alert")
    assert alerts == [("key_out",)]


def alerts_of(courier):
    return courier.database.query("SELECT kind FROM usage_alert")


@pytest.mark.fault
async def test_an_instance_that_was_killed_gives_its_places_back(couriers, shared_upstream):
    first, second = couriers
    shared_upstream.always(error_body(), status=429, headers={"retry-after": "600"})
    await ask(first, "resting")
    shared_upstream.always(completion())
    shared_upstream.will_answer(OPENING, HELLO, STALL)
    call = Call(second, key=KEY, model="narrow", stream=True)
    async with call:
        await call.read_head()
        await call.read_piece()
        second.kill()
    killed_at = time.monotonic()
    assert (await ask(first, "narrow")).status == 429

    while (await ask(first, "narrow")).status != 200:
        assert time.monotonic() - killed_at < 2 * LEASE_S
        await asyncio.sleep(0.5)

    took = time.monotonic() - killed_at
    figure("R29", f"places of a killed instance are free after {took:.0f} s", f"<= {LEASE_S} s")
    second.start()
    # What others were told is known to one that has just begun.
    await until_told(second, "resting", 429)
