"""How often upstreams are called, and when: counted where the calls arrive."""

import asyncio
import time

import pytest
from django.db.models import Count

from gateway import breaker, failover, retry_budget
from tests import factories
from tests.fakes.upstream import (
    CUT,
    DONE,
    HELLO,
    OPENING,
    STOP,
    ScriptedUpstream,
    chunk,
    completion,
    error_body,
)
from tests.faults.figures import figure
from tests.gateway.conftest import in_thread
from tests.soak import trials
from usage.models import UsageAttempt

EVENTS = (OPENING, HELLO, chunk(" there"), chunk("."), STOP, DONE)


@pytest.fixture
def second():
    with ScriptedUpstream() as server:
        yield server


@pytest.fixture
def pair(courier, upstream, second):
    """A model with two routes, `upstream` before `second`."""

    async def make(**fields):
        def rows():
            providers = [
                factories.make_provider(name, base_url=server.url)
                for name, server in (("first", upstream), ("second", second))
            ]
            factories.make_model("pair", *providers, **fields)

        await courier.make(rows)

    return make


@pytest.mark.parametrize("events", range(2, len(EVENTS)))
async def test_r19_nothing_is_asked_again_once_output_has_left(
    chat, pair, upstream, second, events
):
    await pair()
    upstream.will_answer(*EVENTS[:events], CUT)

    reply = await chat(model="pair", stream=True)

    assert (len(upstream.requests), len(second.requests)) == (1, 0)
    assert DONE not in reply.content
    figure("R19", "0 calls after output", "0")


async def test_r19_what_breaks_off_before_output_is_asked_again(chat, pair, upstream, second):
    await pair()
    upstream.will_answer(OPENING, CUT)

    await chat(model="pair", stream=True)

    assert (len(upstream.requests), len(second.requests)) == (1, 1)


async def test_r20_a_storm_of_failures_is_hardly_larger_than_what_was_asked(chat, upstream):
    upstream.always(error_body(), status=500, delay=0.02)
    waves, at_once = trials(3, 30), 60

    for _ in range(waves):
        await asyncio.gather(*(chat() for _ in range(at_once)))

    asked, seen = waves * at_once, len(upstream.requests)
    assert seen <= 1.2 * asked + waves * retry_budget.FLOOR
    figure("R20", f"{seen / asked:.2f} x the requests asked", "<= 1.2 x + floor")


async def test_r20_traffic_that_moves_to_a_target_that_works_is_not_held_back(
    chat, pair, upstream, second
):
    await pair()
    upstream.always(error_body(), status=500, delay=0.05)
    second.always(completion())

    replies = await asyncio.gather(*(chat(model="pair") for _ in range(40)))

    assert {reply.status for reply in replies} == {200}


async def test_r21_a_target_is_not_called_before_the_moment_that_it_named(chat, upstream):
    upstream.will_answer(error_body(), status=503, headers={"retry-after": "1"})

    await chat()

    first, again = (request.at for request in upstream.requests)
    assert again - first >= 1


async def test_r21_a_pause_beyond_the_deadline_is_the_clients(chat, upstream):
    upstream.always(error_body(), status=429, headers={"retry-after": "90"})

    reply = await chat()

    assert (reply.status, reply.headers["retry-after"]) == (429, "90")
    assert len(upstream.requests) == 1


async def test_r22_every_call_that_arrives_is_an_attempt_in_the_ledger(
    chat, pair, courier, upstream, second
):
    await pair(max_attempts=4)
    for server in (upstream, second):
        server.always(error_body(), status=500)

    reply = await chat(model="pair")

    await courier.record(reply.request_id)
    rows = await in_thread(
        lambda: dict(
            UsageAttempt.objects.values_list("provider_name")
            .annotate(n=Count("*"))
            .order_by("provider_name")
        )
    )
    assert rows == {"first": len(upstream.requests), "second": len(second.requests)}
    assert sum(rows.values()) == 4


FAST = {
    "refused": lambda upstream: upstream.will_not_answer(CUT),
    "500": lambda upstream: upstream.will_answer(error_body(), status=500),
}


@pytest.mark.parametrize("fault", FAST)
async def test_r24_moving_to_the_next_route_costs_little(
    chat, pair, upstream, second, fault, monkeypatch
):
    monkeypatch.setattr(breaker, "FAILURES_TO_OPEN", 10**6)
    monkeypatch.setattr(breaker, "LEAST_CALLS", 10**6)
    await pair()
    took = {"plain": [], "moved": []}
    for _ in range(trials(10, 300)):
        for how, times in took.items():
            if how == "moved":
                FAST[fault](upstream)
            began_at = time.monotonic()
            assert (await chat(model="pair")).status == 200
            times.append(time.monotonic() - began_at)

    added = [(sorted(times)[int(len(times) * 0.99)]) for times in took.values()]
    figure("R24", f"{fault}: p99 {(added[1] - added[0]) * 1000:.0f} ms more", "<= 50 ms")


async def test_r23_the_only_target_is_called_although_its_breaker_is_open(chat, upstream):
    upstream.always(error_body(), status=500)
    for _ in range(3):
        await chat()
    before = len(upstream.requests)

    await chat()

    assert len(upstream.requests) > before >= breaker.FAILURES_TO_OPEN


async def test_r20_a_process_that_may_not_retry_says_what_failed(chat, upstream, monkeypatch):
    monkeypatch.setattr(retry_budget, "FLOOR", 0)
    upstream.always(error_body(), status=500)
    before = retry_budget.retries.refused

    reply = await chat()

    assert (reply.code, len(upstream.requests)) == ("upstream_unavailable", 1)
    assert retry_budget.retries.refused == before + 1


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(failover, "FIRST_BACKOFF_S", 0)
