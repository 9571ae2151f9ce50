import asyncio
import collections

import pytest

from tests import services
from tests.e2e.client import try_to_ask
from tests.e2e.courier import Courier, PostgresAndRedis
from tests.e2e.manifests import KEY, manifest

UNKNOWN = "e2e-unknown-0123456789abcdef0123456789"
AWAY_S = 3


@pytest.fixture
def own_postgres(postgres):
    """A second server, for this test alone to stop."""
    server = services.Postgres()
    yield server
    server.stop()


@pytest.fixture
def courier(own_postgres, redis_server, shared_upstream, tmp_path):
    database = PostgresAndRedis(own_postgres, "courier", redis_server.url(63))
    courier = Courier(tmp_path, database)
    courier.manage("migrate", "-v0")
    courier.apply(manifest(shared_upstream.url))
    yield courier.start()
    courier.stop()


async def ask_steadily(stopped, courier, replies, **options):
    while not stopped.is_set():
        replies.append(await try_to_ask(courier, **options))
        await asyncio.sleep(0.05)


async def test_known_keys_go_on_while_the_database_is_away(courier, own_postgres):
    known, unknown, stopped = [], [], asyncio.Event()
    assert (await try_to_ask(courier)).status == 200
    callers = [asyncio.create_task(ask_steadily(stopped, courier, known)) for _ in range(4)]
    await asyncio.sleep(0.5)

    await asyncio.to_thread(own_postgres.halt)
    callers.append(asyncio.create_task(ask_steadily(stopped, courier, unknown, key=UNKNOWN)))
    await asyncio.sleep(AWAY_S)
    stopped.set()
    await asyncio.gather(*callers)
    await asyncio.to_thread(own_postgres.start)

    records = await asyncio.to_thread(courier.wait_for_records, len(known) + 1, 30)
    statuses = collections.Counter(reply.status for reply in known)
    refusals = collections.Counter((reply.status, reply.code) for reply in unknown)
    print(f"\nknown {dict(statuses)}, unknown {dict(refusals)}, {records} records afterwards")
    assert statuses == {200: len(known)}
    assert set(refusals) == {(503, "identity_unavailable")}
    assert records == len(known) + 1
    assert await refused_again(courier)
    assert KEY not in courier.read_log()


async def refused_again(courier):
    """Whether an unknown key is unknown, and no longer unanswerable."""
    for _ in range(50):
        reply = await try_to_ask(courier, key=UNKNOWN)
        if reply.status == 401:
            return True
        await asyncio.sleep(0.1)
    return False
