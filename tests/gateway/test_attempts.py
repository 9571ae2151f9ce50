"""What each upstream call is remembered by, and what those cost that nobody was answered by."""

import asyncio

import pytest

from gateway import standing
from gateway.routing import Out
from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import CUT, DONE, HEARD, HELLO, OPENING, STALL, STOP, completion
from tests.gateway.conftest import in_thread, until
from usage.models import UsageAttempt

WHOLE = completion("Once upon a time.")


async def attempts_of(record):
    rows = UsageAttempt.objects.filter(request_id=record.request_id).order_by("number")
    return await in_thread(list, rows)


@pytest.fixture
async def pair(courier, alpha):
    """A model with two routes of different prices, dearer in the first."""

    def rows():
        model = factories.make_model("pair", priced=False)
        first = factories.make_route(model, alpha, upstream_model="dear", priority=0)
        second = factories.make_route(model, alpha, upstream_model="cheap", priority=1)
        factories.make_price(model, route=first, input="10", output="20")
        factories.make_price(model, route=second, input="1", output="2")

    await courier.make(rows)


async def test_a_request_that_nobody_was_asked_for_cost_nothing(chat, pair, courier, monkeypatch):
    out = Out("rate_limited", 60, is_final=True)
    monkeypatch.setattr(standing, "_is_quiet", lambda: False)
    monkeypatch.setattr(standing.breakers, "out", lambda target: out)

    record = await courier.record((await chat(model="pair")).request_id)

    assert (record.attempts, record.cost_nano, record.provider_cost_nano) == (0, 0, 0)


async def test_an_answer_has_one_attempt_with_its_cost(chat, courier):
    record = await courier.record((await chat()).request_id)

    (attempt,) = await attempts_of(record)

    assert (attempt.number, attempt.outcome, attempt.received) == (1, "ok", True)
    assert (attempt.provider_name, attempt.upstream_model) == ("alpha", "alpha-tiny")
    assert attempt.cost_nano == record.provider_cost_nano == record.cost_nano == 7 * 150 + 3 * 600
    assert (attempt.key_id, attempt.team_id) == (record.key_id, record.team_id)


async def test_a_request_is_charged_the_price_of_the_route_that_answered(
    chat, pair, courier, upstream
):
    upstream.for_model("dear", b"{}", status=500)

    record = await courier.record((await chat(model="pair")).request_id)

    failed, answered = (await attempts_of(record))[-2:]
    assert (failed.outcome, failed.received, failed.cost_nano) == ("upstream_unavailable", False, 0)
    assert (answered.outcome, answered.cost_nano) == ("ok", 7 * 1000 + 3 * 2000)
    assert record.cost_nano == answered.cost_nano
    assert record.price_id == answered.price_id


async def test_what_a_provider_had_begun_is_told_as_spent_for_nothing(
    chat, pair, courier, upstream
):
    upstream.will_answer(WHOLE[:40], CUT)
    upstream.will_answer(WHOLE[:40], CUT)
    upstream.will_answer(WHOLE)

    record = await courier.record((await chat(model="pair")).request_id)

    lost = [attempt for attempt in await attempts_of(record) if not attempt.received]
    assert lost
    for attempt in lost:
        assert attempt.usage_source == "estimated"
        assert attempt.cost_nano > 0
    assert record.cost_nano == 7 * 1000 + 3 * 2000 or record.cost_nano == 7 * 10000 + 3 * 20000


async def test_a_client_that_leaves_midway_has_received_nothing_whole(courier, key, upstream):
    upstream.will_answer(OPENING, HELLO, STALL)
    async with Call(courier, key=key.secret, stream=True) as call:
        await call.read_head()
        await call.read_piece()

    record = await courier.last_record()

    (attempt,) = await attempts_of(record)
    assert (attempt.outcome, attempt.received) == ("client_disconnected", False)
    assert attempt.cost_nano == record.provider_cost_nano > 0


async def test_a_request_without_a_provider_has_no_attempt(chat, courier):
    await courier.make(lambda: factories.make_model("nowhere"))

    record = await courier.record((await chat(model="nowhere")).request_id)

    assert await attempts_of(record) == []


async def test_a_markup_is_charged_and_the_providers_cost_kept(chat, courier, team):
    def raise_it():
        team.markup_percent = 12.5
        team.save()

    await courier.make(raise_it)

    record = await courier.record((await chat()).request_id)

    assert record.provider_cost_nano == 7 * 150 + 3 * 600
    assert record.markup_bp == 1250
    assert record.cost_nano == -(-record.provider_cost_nano * 11250 // 10000)


async def test_a_stream_that_breaks_midway_was_received_as_far_as_it_went(chat, courier, upstream):
    upstream.will_answer(OPENING, HELLO, HEARD, CUT)

    record = await courier.record((await chat(stream=True)).request_id)

    (attempt,) = await attempts_of(record)
    assert (attempt.outcome, attempt.received) == ("stream_interrupted", True)


async def test_attempts_of_streams_are_recorded_once(chat, courier, upstream):
    upstream.will_answer(HELLO, STOP, DONE)

    record = await courier.record((await chat(stream=True)).request_id)

    await asyncio.sleep(0)
    assert len(await attempts_of(record)) == record.attempts == 1
    await until(lambda: not upstream.busy_connections)
