"""Three instances: what one learns of a provider, or staff order, all of them know at once."""

import asyncio
import time

import pytest

from tests.e2e.client import ask
from tests.e2e.courier import Courier
from tests.e2e.manifests import manifest, model
from tests.fakes.upstream import ScriptedUpstream, error_body, like_a_model
from tests.faults.figures import figure

pytestmark = pytest.mark.fault

DRAIN_S = 20
DRAIN = """
from datetime import timedelta
from django.utils import timezone
from registry.models import Intervention, Provider
Intervention.objects.create(
    kind="drain", provider=Provider.objects.get(name="ordered"),
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
    # Of another name, so that no test meets what an earlier one has left.
    for name, url in (("ordered", shared_upstream.url), ("backup", backup.url)):
        settings["providers"].append({"name": name, "kind": "openai_compatible", "base_url": url})
    settings["models"].append(model("ordered", "ordered"))
    for each in settings["models"]:
        each["routes"].append({"provider": "backup", "upstream_model": "tiny", "priority": 1})
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


async def nobody_uses(server, couriers, asked):
    """Seconds until every instance is served, and none of them by `server`."""
    began_at = time.monotonic()
    async with asyncio.timeout(60):
        while True:
            before = len(server.requests)
            replies = await asyncio.gather(*(ask(courier, model=asked) for courier in couriers))
            assert {reply.status for reply in replies} == {200}
            if len(server.requests) == before:
                return time.monotonic() - began_at
            await asyncio.sleep(0.05)


async def test_a_pause_that_one_instance_was_told_is_kept_by_all_and_by_a_new_one(
    couriers, shared_upstream, backup
):
    started, another = couriers
    shared_upstream.forget()
    shared_upstream.will_answer(error_body(), status=503, headers={"retry-after": "600"})
    # It is well again, and only what was told keeps anybody from it.
    shared_upstream.default = like_a_model
    await ask(started[0])

    took = await nobody_uses(shared_upstream, started, "tiny")
    await asyncio.to_thread(another)
    await nobody_uses(shared_upstream, started, "tiny")

    seen = f"{len(started)} instances keep a pause that one was told, after {took:.2f} s"
    figure("R23", seen, "within 2 s")


async def test_what_staff_order_is_done_by_all_instances_and_ends_by_itself(
    couriers, shared_upstream, backup
):
    started, _ = couriers
    shared_upstream.forget()
    shared_upstream.default = like_a_model
    await nobody_uses(backup, started, "ordered")

    await asyncio.to_thread(started[0].manage, "shell", "-c", DRAIN % DRAIN_S)
    took = await nobody_uses(shared_upstream, started, "ordered")
    figure("idea 17", f"three instances agree after {took:.2f} s", "<= 2 s")

    await nobody_uses(backup, started, "ordered")
