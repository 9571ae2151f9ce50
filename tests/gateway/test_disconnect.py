"""A client that leaves: its upstream is left at once, or read to the end where that is paid for."""

import asyncio

import pytest

from accounts import states
from accounts.principals import authenticate
from gateway import relay
from gateway.load import load
from registry import snapshot
from registry.models import ServedModel
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
    Until,
    chunk,
    completion,
)
from tests.gateway.conftest import until


@pytest.fixture
def call(courier, key):
    def make(**body):
        return Call(courier, key=key.secret, **body)

    return make


async def leave_after_the_first_piece(call):
    async with call:
        await call.read_head()
        await call.read_piece()


async def leave_while_waiting(call, upstream):
    async with call:
        await until(lambda: upstream.busy_connections)


async def test_the_upstream_of_a_stream_is_left(call, courier, upstream):
    upstream.will_answer(OPENING, HELLO, STALL)

    await leave_after_the_first_piece(call(stream=True))

    await until(lambda: upstream.departures)
    assert (await courier.last_record()).outcome == "client_disconnected"


@pytest.mark.parametrize("stream", [True, False])
async def test_an_upstream_that_has_not_answered_is_left(call, courier, upstream, stream):
    upstream.will_not_answer()

    await leave_while_waiting(call(stream=stream), upstream)

    await until(lambda: upstream.departures)
    record = await courier.last_record()
    assert (record.outcome, record.status) == ("client_disconnected", 499)


async def test_a_reset_is_a_departure_too(call, courier, upstream):
    upstream.will_answer(OPENING, HELLO, STALL)
    asking = call(stream=True)
    async with asking:
        await asking.read_head()
        asking.reset()
        await until(lambda: upstream.departures)

    assert (await courier.last_record()).outcome == "client_disconnected"


async def test_nobody_is_tried_after_the_client_has_left(call, courier, upstream):
    upstream.will_not_answer()

    await leave_while_waiting(call(), upstream)

    assert (await courier.last_record()).attempts == 1
    assert len(upstream.requests) == 1


async def test_many_who_leave_leave_nothing_behind(call, courier, upstream):
    upstream.always(OPENING, HELLO, STALL)

    await asyncio.gather(*(leave_after_the_first_piece(call(stream=True)) for _ in range(30)))

    await until(lambda: len(upstream.departures) == 30)
    await until(lambda: not courier.application._front_door.open)
    assert relay.pulse.watched == set()


async def test_connections_are_good_after_others_have_left(call, chat, upstream):
    upstream.will_answer(OPENING, HELLO, STALL)
    await leave_after_the_first_piece(call(stream=True))

    upstream.will_answer(completion("mine"))
    reply = await chat()

    assert reply.json["choices"][0]["message"]["content"] == "mine"


@pytest.fixture
async def drained(courier, upstream):
    """A model whose provider is read to the end."""

    async def make(**fields):
        def rows():
            provider = factories.make_provider(
                base_url=upstream.url, on_disconnect="drain", **fields
            )
            factories.make_model("paid", provider)

        await courier.make(rows)

    await make()
    return make


async def test_r10_a_paid_answer_is_read_on_for_its_usage(call, courier, upstream, drained):
    upstream.will_answer(OPENING, HELLO, Until(courier.is_left), STOP, USAGE, DONE)

    await leave_after_the_first_piece(call(model="paid", stream=True))

    record = await courier.last_record()
    assert (record.outcome, record.end_reason) == ("client_disconnected", "client_gone")
    assert (record.usage_source, record.input_tokens, record.output_tokens) == ("provider", 7, 3)
    assert upstream.departures == []


async def test_r10_a_whole_answer_that_is_paid_for_is_awaited_for_its_usage(
    call, courier, upstream, drained
):
    upstream.will_answer(completion("Hello."), after=Until(courier.is_left))

    await leave_while_waiting(call(model="paid"), upstream)

    record = await courier.last_record()
    assert (record.outcome, record.status) == ("client_disconnected", 499)
    assert (record.usage_source, record.input_tokens, record.output_tokens) == ("provider", 7, 3)
    assert upstream.departures == []
    assert len(upstream.requests) == 1


async def test_r10_a_whole_answer_is_awaited_for_so_long_only(call, courier, upstream):
    def rows():
        provider = factories.make_provider(
            base_url=upstream.url, on_disconnect="drain", drain_timeout_s=0.3
        )
        factories.make_model("paid", provider)

    await courier.make(rows)
    upstream.will_not_answer()

    await leave_while_waiting(call(model="paid"), upstream)

    await until(lambda: upstream.departures)
    assert (await courier.last_record()).outcome == "client_disconnected"


async def test_r10_a_stop_awaits_no_answer_of_a_client_that_is_still_there(
    call, courier, upstream, drained, quiet_logs
):
    upstream.will_answer(completion("Hello."), delay=5)
    async with call(model="paid") as asking:
        await until(lambda: upstream.busy_connections)
        courier.application._front_door.shut_down()
        reply = await asking.read()

    quiet_logs.clear()
    assert (reply.status, reply.code) == (503, "shutting_down")
    assert (await courier.last_record()).end_reason == "interrupted"


async def test_r10_a_failure_that_nobody_waits_for_is_not_tried_again(
    call, courier, upstream, drained
):
    upstream.will_answer(b"{}", status=503, after=Until(courier.is_left))

    await leave_while_waiting(call(model="paid"), upstream)

    assert (await courier.last_record()).outcome == "client_disconnected"
    assert len(upstream.requests) == 1


async def test_a_paid_answer_that_breaks_off_is_counted_as_far_as_it_came(
    call, courier, upstream, drained
):
    upstream.will_answer(OPENING, HELLO, Until(courier.is_left), HELLO, CUT)

    await leave_after_the_first_piece(call(model="paid", stream=True))

    record = await courier.last_record()
    assert (record.outcome, record.usage_source) == ("client_disconnected", "estimated")
    assert record.output_tokens == 2


async def test_a_paid_answer_is_not_read_on_beyond_its_budget(
    call, courier, upstream, drained, key
):
    def rows():
        factories.make_price(ServedModel.objects.get(name="paid"))
        factories.make_budget(key=key, amount="0.01")

    await courier.make(rows)
    upstream.will_answer(OPENING, HELLO, Until(courier.is_left), chunk("word " * 40_000), STALL)

    await leave_after_the_first_piece(call(model="paid", stream=True))

    await until(lambda: upstream.departures)
    assert (await courier.last_record()).end_reason == "client_gone"


async def test_r10_no_more_are_read_on_than_allowed(call, courier, upstream, drained, monkeypatch):
    monkeypatch.setattr(relay, "MOST_DRAINING", 0)
    upstream.will_answer(OPENING, HELLO, STALL)

    await leave_after_the_first_piece(call(model="paid", stream=True))

    await until(lambda: upstream.departures)
    assert (await courier.last_record()).usage_source == "estimated"


async def test_r10_a_paid_answer_is_read_on_for_so_long_only(call, courier, upstream):
    def rows():
        provider = factories.make_provider(
            base_url=upstream.url, on_disconnect="drain", drain_timeout_s=0.3
        )
        factories.make_model("paid", provider)

    await courier.make(rows)
    upstream.will_answer(OPENING, HELLO, STALL)

    await leave_after_the_first_piece(call(model="paid", stream=True))

    await until(lambda: upstream.departures)
    assert (await courier.last_record()).outcome == "client_disconnected"


class StoppedAtOnce(set):
    """Ends each task that it is given before its first step, as a stop in that moment does."""

    def add(self, task):
        super().add(task)
        task.cancel()


async def test_r01_r29_a_paid_answer_that_is_given_up_before_it_is_read_on_ends_once(
    call, courier, upstream, drained, key, monkeypatch
):
    await courier.make(lambda: factories.make_limit(key=key, metric="concurrency", amount=9))
    monkeypatch.setattr(relay.pulse, "draining", StoppedAtOnce())
    upstream.will_answer(OPENING, HELLO, STALL)

    await leave_after_the_first_piece(call(model="paid", stream=True))

    await until(lambda: upstream.departures)
    record = await courier.last_record()
    assert (record.outcome, record.usage_source) == ("client_disconnected", "estimated")
    assert [load.in_flight(each) for each in snapshot.current().model("paid").targets] == [0]
    (concurrent,) = await states.limit_states(await authenticate(key.secret))
    assert concurrent.remaining == 9
    assert relay.pulse.draining == set()


async def test_who_leaves_between_two_attempts_pays_for_none(call, courier, upstream):
    upstream.will_answer(b"{}", status=503, headers={"retry-after": "3"})

    async with call():
        await until(lambda: upstream.requests and not upstream.busy_connections)
        await asyncio.sleep(0.2)

    record = await courier.last_record()
    assert (record.outcome, record.attempts) == ("client_disconnected", 1)
    assert (record.usage_source, record.input_tokens, record.cost_nano) == ("none", 0, 0)
