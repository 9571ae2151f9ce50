"""However requests end, each has one record, and whatever was taken for it is given back once."""

import asyncio
import random

from accounts import admission, states
from accounts.principals import authenticate
from accounts.upstream_keys import rules_of
from gateway.breaker import breakers
from gateway.load import load
from gateway.retry_budget import retries
from registry import snapshot
from registry.models import UpstreamKey
from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import (
    CUT,
    DONE,
    HELLO,
    OPENING,
    STALL,
    STOP,
    USAGE,
    Answer,
    Pause,
    completion,
    error_body,
)  # fmt: skip
from tests.gateway.conftest import until
from tests.gateway.test_cancel_storm import records_of
from tests.soak import trials

REQUESTS = trials(40, 2000)
AT_ONCE = 12
CHANCE = random.Random(20)


def answer(request):
    """Whatever an upstream may do, in no order."""
    wait = Pause(CHANCE.uniform(0, 0.03))
    if CHANCE.random() < 0.4:
        status = CHANCE.choice([400, 404, 429, 500, 503])
        headers = {"retry-after": CHANCE.choice(["0", "1"])} if status in {429, 503} else {}
        return Answer((error_body(),), status=status, headers=headers, before=(wait,))
    if not request.json.get("stream"):
        return Answer((CHANCE.choice([completion(), CUT, STALL]),), before=(wait,))
    ending = CHANCE.choice([(STOP, USAGE, DONE), (STOP, USAGE, DONE), (CUT,), (STALL,)])
    return Answer((OPENING, wait, HELLO, wait, HELLO, *ending))


async def ask_or_leave(courier, key):
    """Ask; and leave at some moment, or wait for the end."""
    call = Call(courier, key=key.secret, stream=CHANCE.random() < 0.5)
    async with call:
        try:
            async with asyncio.timeout(CHANCE.choice([0.005, 0.02, 0.05, 20])):
                await call.read()
        except (TimeoutError, OSError):
            pass
    return call.reply


def rows(alpha, key):
    alpha.first_byte_timeout_s = alpha.idle_timeout_s = alpha.total_timeout_s = 1
    alpha.save()
    UpstreamKey.objects.filter(provider=alpha).delete()
    for name in ("first", "second"):
        factories.make_upstream_key(alpha, f"sk-{name}-of-a-test", name, concurrency=3)
    factories.make_limit(key=key, metric="concurrency", amount=AT_ONCE)
    factories.make_limit(key=key, metric="tokens", amount=10**7, window_s=86400)


async def test_r10_r20_whatever_happens_all_is_given_back_once(courier, key, alpha, upstream):
    upstream.default = answer
    await courier.make(lambda: rows(alpha, key))
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn():
        async with turns:
            return await ask_or_leave(courier, key)

    replies = await asyncio.gather(*(in_turn() for _ in range(REQUESTS)))
    await until(lambda: not courier.application._front_door.open)

    targets = snapshot.current().model("tiny").targets
    assert [load.in_flight(target) for target in targets] == [0, 0]
    assert (retries.waiting, retries.retrying) == (0, 0)
    assert not any(breakers._states[each.id].probing_since for each in targets)
    for target in targets:
        held = await admission.store().look(rules_of(target.key_id, target.terms))
        assert list(held.used) == [0]
    records = await records_of({reply.request_id for reply in replies if reply.whole})
    assert len({record.outcome for record in records}) > 2
    assert max(record.attempts for record in records) <= 3
    used = {
        each.metric: each.amount - each.remaining
        for each in await states.limit_states(await authenticate(key.secret))
    }
    assert used == {
        "concurrency": 0,
        "tokens": sum(each.input_tokens + each.output_tokens for each in records),
    }
