"""What answers tell about themselves is true, and as much as administrators want told."""

import asyncio
import time

import pytest

from courier_site import protocol
from gateway import disclosure
from gateway.shedding import A_TURN, Load
from tests import factories
from tests.fakes.upstream import HEARD, STREAM, completion
from tests.gateway.conftest import until

OWN = {f"x-courier-{name}" for name in disclosure.NAMES}


@pytest.fixture(autouse=True)
def _budgets_known_soon(monkeypatch):
    monkeypatch.setattr("usage.budget_keeper.YOUNG_S", 0)


@pytest.fixture
async def budget(courier, key):
    return await courier.make(lambda: factories.make_budget(key=key))


def own_headers(reply):
    return OWN & set(reply.headers)


async def test_a_whole_answer_tells_what_it_held_and_what_it_cost(chat, courier, upstream, budget):
    upstream.will_answer(completion())

    reply = await chat(max_tokens=1000)

    # 7 tokens at 0.15 and 3 at 0.6 dollars per million.
    assert reply.headers["x-courier-cost"] == "0.00000285"
    record = await courier.record(reply.request_id)
    assert record.cost_nano == 2850
    assert 0.0006 < float(reply.headers["x-courier-hold"]) < 0.001


async def test_a_stream_tells_what_it_holds_and_no_cost(chat, upstream, budget):
    reply = await chat(stream=True, max_tokens=10)

    assert "x-courier-hold" in reply.headers
    assert "x-courier-cost" not in reply.headers


async def test_without_a_budget_nothing_is_held(chat, upstream):
    upstream.will_answer(completion())

    assert "x-courier-hold" not in (await chat()).headers


async def test_each_header_can_be_left_out(chat, upstream, budget, settings):
    settings.COURIER_HEADERS = ["cost", "attempts"]
    upstream.will_answer(completion())

    assert own_headers(await chat()) == {"x-courier-cost", "x-courier-attempts"}


async def test_all_can_be_left_out(chat, upstream, budget, settings):
    settings.COURIER_HEADERS = ["none"]
    upstream.will_answer(completion())

    assert own_headers(await chat()) == set()


async def test_all_can_be_left_out_of_a_stream_that_begins_in_silence(
    chat, upstream, budget, settings
):
    settings.COURIER_HEADERS, settings.COURIER_KEEP_ALIVE_S = ["none"], 0.1
    upstream.will_answer(*STREAM, after=HEARD)

    reply = await chat(stream=True)

    assert reply.content.startswith(b": keep-alive")
    assert own_headers(reply) == set()


@pytest.mark.parametrize(("status", "body"), [(200, completion()), (500, b"{}")])
async def test_the_overhead_is_the_time_that_was_not_the_upstreams(chat, upstream, status, body):
    upstream.always(body, status=status, delay=0.4)
    began = time.monotonic()

    reply = await chat()

    took_ms = (time.monotonic() - began) * 1000
    assert 0 <= float(reply.headers["x-courier-overhead-ms"]) < took_ms - 350


async def test_all_are_told_where_nothing_else_is_said(chat, upstream, budget):
    upstream.will_answer(completion())

    assert own_headers(await chat()) == OWN - {"x-courier-dropped-params"}


async def test_r35_waiting_in_line_is_overhead_and_is_recorded(
    chat, courier, upstream, monkeypatch
):
    line = Load()
    line._begun = A_TURN
    monkeypatch.setattr(protocol, "load", line)
    upstream.will_answer(completion())
    asking = asyncio.create_task(chat())
    await until(lambda: line.waiting)
    await asyncio.sleep(0.3)
    line._next_turn()
    reply = await asking

    assert float(reply.headers["x-courier-overhead-ms"]) > 290
    assert (await courier.record(reply.request_id)).total_ms >= 290


@pytest.mark.parametrize(
    ("nano", "told"),
    [(0, "0"), (1, "0.000000001"), (2_500_000_000, "2.5"), (10 * 10**9, "10"), (150, "0.00000015")],
)
def test_money_is_told_to_the_last_nano_dollar(nano, told):
    assert disclosure.dollars(nano) == told
