"""R36: what it costs to wait for a Redis that is late: one deadline, and after it nothing."""

import asyncio
import contextlib
import os
import signal
import time

import pytest
import uvloop

from accounts import redis_line
from accounts.errors import LimitsUnavailable
from accounts.redis_limits import RedisStore
from tests.accounts.conftest import a_budget, a_limit, by, costs, rules_of, tokens
from tests.accounts.test_redis_limits import known, relay, settled

DEADLINE_S = 0.3
LIMITED = rules_of(a_limit("requests", 1_000_000))
SPARING = rules_of(a_limit("tokens", 1_000_000), a_limit("concurrency", 1_000))


@pytest.fixture
async def store(redis_url, settings, monkeypatch):
    settings.COURIER_REDIS_DEADLINE_S = DEADLINE_S
    for name in ("CONNECT_S", "OVERDUE_S", "OPEN_FOR_S"):
        monkeypatch.setattr(redis_line, name, 0.3)
    made = RedisStore(redis_url)
    await made.admit(LIMITED, "first", tokens(0))
    yield made
    await made.close()


@pytest.fixture
def silent(redis_client):
    """A Redis that answers nobody for as long as the block lasts."""
    process = redis_client.info("server")["process_id"]

    class Silence:
        def __enter__(self):
            os.kill(process, signal.SIGSTOP)

        def __exit__(self, *exception):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    return Silence()


def is_refused_at_once(store):
    asking = store.admit(LIMITED, "at once", tokens(0))
    try:
        asking.send(None)
    except LimitsUnavailable:
        return True
    asking.close()
    return False


async def until_used(store):
    async with asyncio.timeout(30):
        while is_refused_at_once(store):
            await asyncio.sleep(0.01)
    await settled(store)


async def ask_in_vain(store, rules=LIMITED, need=None):
    with pytest.raises(LimitsUnavailable):
        await store.admit(rules, "in vain", need or tokens(0))


async def test_r36_after_one_answer_that_was_overdue_nobody_waits_for_another(store, silent):
    with silent:
        await ask_in_vain(store)
        assert is_refused_at_once(store)
        assert is_refused_at_once(store)


async def test_r36_nobody_waits_for_a_connection_either(store, silent):
    """Not while the next one is made, nor for any after it, as long as nothing is heard."""
    with silent:
        await ask_in_vain(store)
        refused = []
        for _ in range(70):
            refused.append(is_refused_at_once(store))
            await asyncio.sleep(0.02)
    assert set(refused) == {True}
    await until_used(store)


async def test_a_redis_that_was_slow_is_used_again_on_the_same_connection(store, silent):
    wire = store._line._wire
    with silent:
        await ask_in_vain(store)
    await until_used(store)
    assert store._line._wire is wire


async def test_what_a_late_yes_holds_is_given_back(store, silent):
    with silent:
        await ask_in_vain(store, SPARING, tokens(500))
    await until_used(store)
    assert list((await store.look(SPARING)).used) == [0, 0]


async def test_what_a_late_yes_holds_of_a_budget_is_given_back(store, silent):
    budget = a_budget(10_000)
    await known(store, budget)
    with silent:
        await ask_in_vain(store, rules_of(budget), costs(700))
    await until_used(store)
    assert (await store.look(rules_of(budget))).reserved == [0]


async def test_what_is_posted_meanwhile_waits_and_arrives_once(store, silent):
    budget = a_budget(10_000)
    await known(store, budget)
    rules = rules_of(budget)
    verdict = await store.admit(rules, "a", costs(700))
    with silent:
        await ask_in_vain(store)
        store.settle(rules, "a", by(0, cost=300, held=700, windows=verdict.windows))
        await asyncio.sleep(0.1)
        assert len(store._line._posts) == 1
    await until_used(store)
    look = await store.look(rules)
    assert (look.spent, look.reserved) == ([800], [0])


async def test_redis_that_is_late_again_is_not_waited_for_any_longer(store, silent, monkeypatch):
    monkeypatch.setattr(redis_line, "OVERDUE_S", 60)
    for _ in range(2):
        with silent:
            await asyncio.wait_for(ask_in_vain(store), 20)
        await until_used(store)


async def test_redis_that_is_late_again_and_again_is_left_alone_for_a_while(store, silent):
    for _ in range(3):
        with silent:
            await ask_in_vain(store)
        await asyncio.sleep(0.05)
    assert is_refused_at_once(store)
    await until_used(store)


async def test_what_has_not_left_yet_is_not_overdue(store):
    asking = asyncio.create_task(store.admit(LIMITED, "a", tokens(0)))
    while not store._line._calls:
        await asyncio.sleep(0)
    for _ in range(2):
        store._line._check()  # as it comes for what was asked earlier
    assert (await asking).refused < 0


async def test_a_connection_that_is_lost_while_it_is_silent_is_made_anew(
    store, silent, redis_server
):
    with silent:
        await ask_in_vain(store)
        redis_server.halt()
        redis_server.start()
    await until_used(store)
    assert (await store.admit(LIMITED, "a", tokens(0))).refused < 0


async def test_a_connection_that_stays_silent_is_replaced(redis_server, store):
    """As when a proxy has lost its way: nothing is heard on it, and new ones work."""
    writers = []

    def start(serve):
        async def notice(reader, writer):
            writers.append(writer)
            await serve(reader, writer)

        return asyncio.start_server(notice, "127.0.0.1", 0)

    async with relay(redis_server, start) as server:
        far = RedisStore(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        await far.admit(LIMITED, "first", tokens(0))
        writers[0].transport.pause_reading()
        await ask_in_vain(far)
        await until_used(far)
        await far.close()
        writers[0].close()


async def admit_with_a_pause(redis_url, comes, silent_s, silent):
    """Ask, and let the whole loop stand still for long as soon as the line is so far."""
    store = RedisStore(redis_url)
    await store.admit(LIMITED, "first", tokens(0))
    asking = asyncio.create_task(store.admit(LIMITED, "a", tokens(0)))
    while not comes(store._line):
        await asyncio.sleep(0)
    if silent_s:
        silent.__enter__()
    time.sleep(2 * DEADLINE_S)
    asyncio.get_running_loop().call_later(silent_s, silent.__exit__)
    try:
        return (await asking).refused
    finally:
        await store.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(("comes", "silent_s"), [
    # Then Redis has all of its time, and may use it.
    pytest.param(lambda line: line._calls, DEADLINE_S / 3, id="before it is sent"),
    pytest.param(lambda line: line._wire.awaited, 0, id="after it is sent"),
])  # fmt: skip
def test_a_loop_that_stood_still_does_not_take_redis_for_away(
    redis_url, settings, silent, comes, silent_s, loop
):
    """Loops differ in which they see first: that the time is over, or that an answer came."""
    settings.COURIER_REDIS_DEADLINE_S = DEADLINE_S
    with asyncio.Runner(loop_factory=loop) as runner:
        asking = admit_with_a_pause(redis_url, comes, silent_s, silent)
        assert runner.run(asking) < 0
