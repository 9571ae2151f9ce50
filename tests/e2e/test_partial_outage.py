"""Three instances: what one learns of a provider, or staff order, all of them know at once."""

import asyncio
import time

import pytest

from tests.e2e.client import ask
from tests.e2e.courier import Courier
from tests.e2e.manifests import manifest
from tests.fakes.upstream import ScriptedUpstream, error_body, like_a_model
from tests.faults.figures import figure

pytestmark = pytest.mark.fault

WITHIN_S = 2.0
DRAIN = """
from datetime import timedelta
from django.utils import timezone
from registry.models import Intervention, Provider
Intervention.objects.create(
    kind="drain", provider=Provider.objects.get(name="scripted"),
    until=timezone.now() + timedelta(seconds=%d), begun_by="alice",
)
"""


@pytest.fixture(scope="module")
def backup():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def couriers(launch, shared_upstream, backup, tmp_path_factory):
    """Three gateways that share one PostgreSQL and one Redis, and a function that adds one."""
    settings = manifest(shared_upstream.url)
    settings["providers"].append(
        {"name": "backup", "kind": "openai_compatible", "base_url": backup.url}
    )
    routes = settings["models"][0]["routes"]
    routes.append({"provider": "backup", "upstream_model": "tiny", "priority": 1})
    first = launch(settings, database="postgres")
    started = [first]

    def another():
        courier = Courier(tmp_path_factory.mktemp("another"), first.database)
        for name in ("secret_key", "courier_encryption_keys", "courier_key_pepper"):
            secret = (first.directory / "secrets" / name).read_text().strip()
            courier.environment[name.upper()] = secret
        started.append(courier.start())
        return started[-1]

    another()
    another()
    yield started, another
    for courier in started[1:]:
        courier.stop()


async def all_use(couriers, server, others):
    """Seconds until the requests of every instance go to `server` and to no other."""
    began_at = time.monotonic()
    while True:
        before = len(others.requests)
        await asyncio.gather(*(ask(courier) for courier in couriers))
        if len(others.requests) == before:
            return time.monotonic() - began_at
        assert time.monotonic() - began_at < 10
        await asyncio.sleep(0.05)


async def test_a_pause_that_one_instance_was_told_is_kept_by_all_and_by_a_new_one(
    couriers, shared_upstream, backup
):
    started, another = couriers
    shared_upstream.forget()
    shared_upstream.always(error_body(), status=503, headers={"retry-after": "20"})
    await ask(started[0])
    called = len(shared_upstream.requests)
    await asyncio.sleep(WITHIN_S)

    for courier in started:
        assert (await ask(courier)).status == 200
    new = await asyncio.to_thread(another)
    assert (await ask(new)).status == 200

    assert len(shared_upstream.requests) == called == 1
    figure("R23", f"{len(started)} instances keep a pause that one was told", "within 2 s")


async def test_what_staff_order_is_done_by_all_instances_and_ends_by_itself(
    couriers, shared_upstream, backup
):
    started, _ = couriers
    shared_upstream.forget()
    shared_upstream.default = like_a_model
    await asyncio.sleep(20)
    assert await all_use(started, shared_upstream, backup) < 15

    await asyncio.to_thread(started[0].manage, "shell", "-c", DRAIN % 6)
    took = await all_use(started, backup, shared_upstream)

    assert took <= WITHIN_S
    figure("idea 17", f"three instances agree after {took:.2f} s", "<= 2 s")
    await asyncio.sleep(6)
    assert await all_use(started, shared_upstream, backup) < WITHIN_S
