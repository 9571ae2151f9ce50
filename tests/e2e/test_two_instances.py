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
    STALL,
    STOP,
    USAGE,
    Answer,
    Pause,
    completion,
    like_a_model,
)
from tests.faults.figures import figure
from tests.services import wait_for

CAREFUL = "e2e-careful-0123456789abcdef012345678901"
LIMITED = "e2e-limited-0123456789abcdef0123456789"
DOOMED = "e2e-doomed-0123456789abcdef01234567890"
LIMIT = 600
#: Of each instance.
CLIENTS = 50
REVOKE = """
from accounts.keys import revoke_key
from accounts.models import ApiKey
import time
key, began = ApiKey.objects.get(name="doomed"), time.time()
revoke_key(key)
print(began)
"""

#: Changes something, and takes it back; prints the new number, and when it was committed.
ROLL_BACK = """
import time
from courier_site import manifest
from courier_site.revising import rollback
from registry.models import RecordedRevision, ServedModel
from registry.revisions import made_by
former = RecordedRevision.objects.first()
with made_by("command", "test"):
    for model in ServedModel.objects.all():
        model.max_attempts = 9
        model.save()
with made_by("command", "test") as making:
    rollback.roll_back(former)
print(making.number, time.time(), manifest.export() == former.manifest)
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
    before = len(await settled(couriers))
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
    assert len(await settled(couriers)) == before + 1


async def settled(couriers):
    """The ids on record once none of them owes any."""
    for courier in couriers:
        ids = await asyncio.to_thread(courier.settled)
    return ids


async def test_r30_f36_by_polling_alone_all_instances_refuse_a_revoked_key_and_cut_its_streams(
    couriers, shared_upstream
):
    """There is no message to miss: each instance looks at the revision twice a second."""
    shared_upstream.default = like_a_model
    for courier in couriers:
        assert (await ask(courier, key=DOOMED)).status == 200
    shared_upstream.default = lambda request: Answer((OPENING, HELLO, STALL))
    streams = [asyncio.create_task(until_cut(courier)) for courier in couriers]
    await asyncio.to_thread(wait_for, lambda: shared_upstream.busy_connections == 2, "both streams")
    shared_upstream.default = like_a_model

    # Whoever asks all the while must not bring the old key back.
    asking = [asyncio.create_task(until_refused(one)) for one in couriers for _ in range(3)]

    told = await asyncio.to_thread(couriers[0].manage, "shell", "-c", REVOKE)
    revoked_at = float(told.split()[-1])
    waits = [at - revoked_at for at in await asyncio.gather(*asking)]
    cuts = [at - revoked_at for at in await asyncio.gather(*streams)]
    again = [(await ask(courier, key=DOOMED)).status for courier in couriers for _ in range(10)]

    seen = f"refused within {max(waits):.2f} s, streams cut within {max(cuts):.2f} s"
    figure("R30", f"two instances, by polling: {seen}", "≤ 1 s and ≤ 5 s")
    print(f"\n{seen}")
    assert set(again) == {401}


async def until_cut(courier):
    """When a stream of the key that will be revoked ends, which it would not by itself."""
    reply = await ask(courier, key=DOOMED, stream=True)
    assert b"invalid_api_key" in reply.body
    assert b"[DONE]" not in reply.body
    return time.time()


async def until_refused(courier):
    """When the key that will be revoked is refused."""
    async with asyncio.timeout(60):
        while (await ask(courier, key=DOOMED)).status != 401:
            await asyncio.sleep(0.02)
    return time.time()


async def test_a_rollback_is_in_force_on_all_instances_soon(couriers, shared_upstream):
    shared_upstream.default = like_a_model
    made = asyncio.get_running_loop().create_future()
    watches = [asyncio.ensure_future(until_in_force(courier, made)) for courier in couriers]
    printed = await asyncio.to_thread(couriers[0].manage, "shell", "-c", ROLL_BACK)
    number, committed_at, same_bytes = printed.split()[-3:]
    made.set_result(int(number))
    seen = await asyncio.gather(*watches)

    figure("idea 6", f"{max(seen) - float(committed_at):.2f} s", "< 2 s")
    assert same_bytes == "True"


async def until_in_force(courier, made):
    """When the revision that is being made was first told by this instance."""
    first = {}
    async with asyncio.timeout(60):
        while not (made.done() and made.result() in first):
            reply = await ask_patiently(courier, key=CAREFUL)
            first.setdefault(int(reply.headers["x-courier-revision"]), time.time())
            await asyncio.sleep(0.02)
    return first[made.result()]


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
