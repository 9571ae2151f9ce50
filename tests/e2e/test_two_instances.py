import asyncio
import collections
import itertools
import time

import pytest

from tests.e2e.client import ask, ask_patiently
from tests.e2e.courier import Courier
from tests.e2e.manifests import manifest
from tests.fakes.upstream import (
    DONE,
    HELLO,
    OPENING,
    STOP,
    USAGE,
    Answer,
    Pause,
    completion,
    like_a_model,
)

CAREFUL = "e2e-careful-0123456789abcdef012345678901"
LIMITED = "e2e-limited-0123456789abcdef0123456789"
DOOMED = "e2e-doomed-0123456789abcdef01234567890"
LIMIT = 600
#: Of each instance.
CLIENTS = 50
REVOKE = """
from accounts.keys import revoke_key
from accounts.models import ApiKey
revoke_key(ApiKey.objects.get(name="doomed"))
"""


@pytest.fixture(scope="module")
def couriers(launch, shared_upstream, tmp_path_factory):
    """Two gateways that share one PostgreSQL and one Redis."""
    settings = manifest(shared_upstream.url)
    settings["keys"] = [
        {"name": "careful", "team": "research", "secret": CAREFUL},
        {"name": "limited", "team": "research", "secret": LIMITED, "limits": {"rpm": LIMIT}},
        {"name": "doomed", "team": "research", "secret": DOOMED},
    ]
    first = launch(settings, database="postgres", COURIER_IDEMPOTENCY="shared")
    second = Courier(
        tmp_path_factory.mktemp("second"), first.database, COURIER_IDEMPOTENCY="shared"
    )
    for name in ("secret_key", "courier_encryption_keys", "courier_key_pepper"):
        secret = (first.directory / "secrets" / name).read_text().strip()
        second.environment[name.upper()] = secret
    yield first, second.start()
    second.stop()


async def test_r27_a_limit_is_shared_by_all_instances(couriers):
    asked = iter(range(LIMIT + 100))
    by_status = collections.Counter()

    async def client(courier):
        for _ in asked:
            by_status[(await ask(courier, key=LIMITED)).status] += 1

    await asyncio.gather(*(client(courier) for courier in couriers for _ in range(CLIENTS)))

    print(f"\n{dict(by_status)} over two instances with {CLIENTS} clients each")
    assert by_status == {200: LIMIT, 429: 100}


@pytest.mark.parametrize("stream", [True, False])
async def test_fifty_repeats_are_one_call_and_one_charge(couriers, shared_upstream, stream):
    whole = Answer((completion("once"),), before=(Pause(0.5),))
    streamed = Answer((OPENING, HELLO, Pause(0.5), STOP, USAGE, DONE))
    shared_upstream.forget()
    shared_upstream.default = lambda request: streamed if stream else whole
    before = len(await asyncio.to_thread(couriers[0].settled))
    headers = {"Idempotency-Key": f"order-{stream}"}

    replies = await asyncio.gather(
        *(
            ask(couriers[number % 2], key=CAREFUL, headers=headers, stream=stream)
            for number in range(50)
        )
    )

    assert {reply.body for reply in replies} == {replies[0].body}
    assert all(reply.whole for reply in replies)
    assert len(shared_upstream.requests) == 1
    assert len(await asyncio.to_thread(couriers[0].settled)) == before + 1


async def test_r30_a_revoked_key_is_refused_by_all_instances(couriers, shared_upstream):
    shared_upstream.default = like_a_model
    for courier in couriers:
        assert (await ask(courier, key=DOOMED)).status == 200

    await asyncio.to_thread(couriers[0].manage, "shell", "-c", REVOKE)
    revoked_at = time.monotonic()
    waits = await asyncio.gather(*(until_refused(courier, revoked_at) for courier in couriers))

    print("\nrefused " + " and ".join(f"{wait:.2f} s" for wait in waits) + " after the revocation")
    assert max(waits) <= 3


async def until_refused(courier, since):
    while (await ask(courier, key=DOOMED)).status != 401:
        assert time.monotonic() - since < 10
        await asyncio.sleep(0.02)
    return time.monotonic() - since


async def test_r14_an_instance_is_restarted_and_nothing_is_lost(couriers, shared_upstream):
    """A client that tries the other instance when a connection is refused, as balancers do."""
    shared_upstream.default = like_a_model
    replies, asking = [], set()
    restarting = asyncio.ensure_future(asyncio.to_thread(restart, couriers[1]))
    for number in itertools.count():
        if restarting.done() and number >= 50:
            break
        task = asyncio.ensure_future(ask_either(couriers, number))
        asking.add(task)
        task.add_done_callback(asking.discard)
        task.add_done_callback(lambda done: replies.append(done.result()))
        await asyncio.sleep(0.05)
    await asyncio.gather(*asking)
    await restarting

    assert [(reply.status, reply.body) for reply in replies if not reply.whole] == []


def restart(courier):
    courier.stop()
    courier.start()


async def ask_either(couriers, number):
    first, second = couriers if number % 2 else reversed(couriers)
    asked = {"key": CAREFUL, "stream": number % 3 == 0}
    try:
        return await ask_patiently(first, **asked)
    except ConnectionRefusedError:
        return await ask_patiently(second, **asked)
