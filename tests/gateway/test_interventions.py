"""What staff order in a partial outage is obeyed until it ends."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import pytest

from registry.models import Intervention, Provider, Route
from tests import factories
from tests.fakes.upstream import ScriptedUpstream, completion, error_body
from tests.gateway.conftest import WITHIN_S

FROM_SECOND = completion("From the second.")


@pytest.fixture
def second():
    with ScriptedUpstream() as server:
        server.always(FROM_SECOND)
        yield server


@pytest.fixture
async def pair(courier, upstream, second):
    def rows():
        providers = [
            factories.make_provider(name, base_url=server.url)
            for name, server in (("first", upstream), ("second", second))
        ]
        factories.make_model("pair", *providers)

    await courier.make(rows)


@pytest.fixture
def order(courier):
    async def begin(kind, name, *, minutes=10):
        def row():
            return Intervention.objects.create(
                kind=kind,
                provider=Provider.objects.get(name=name),
                until=datetime.now(UTC) + timedelta(minutes=minutes),
                begun_by="alice",
            )

        return await courier.make(row)

    return begin


async def test_a_drained_provider_gets_no_requests(chat, pair, order, upstream):
    await order("drain", "first")

    reply = await chat(model="pair")

    assert (reply.content, upstream.requests) == (FROM_SECOND, [])


async def test_a_pinned_provider_gets_all_of_them(chat, pair, order, upstream, second):
    await order("pin", "second")

    await chat(model="pair")

    assert (len(upstream.requests), len(second.requests)) == (0, 1)


async def test_models_without_a_route_to_what_is_pinned_go_on(chat, pair, order):
    await order("pin", "second")

    assert (await chat(model="tiny")).status == 200


async def test_a_pinned_route_that_fails_is_not_followed_by_another(
    chat, pair, order, upstream, second
):
    await order("pin", "first")
    upstream.always(error_body(), status=500)

    reply = await chat(model="pair")

    assert (reply.status, second.requests) == (503, [])


async def test_what_has_ended_is_obeyed_no_more(chat, pair, order, upstream):
    await order("drain", "first", minutes=-1)

    await chat(model="pair")

    assert len(upstream.requests) == 1


async def test_a_route_alone_can_be_drained(chat, pair, courier, upstream):
    def row():
        Intervention.objects.create(
            kind="drain",
            route=Route.objects.get(provider__name="first"),
            until=datetime.now(UTC) + timedelta(minutes=1),
        )

    await courier.make(row)

    assert (await chat(model="pair")).content == FROM_SECOND


async def test_clients_are_told_what_is_out_and_for_how_long(chat, pair, order):
    await order("drain", "first")
    await order("drain", "second", minutes=5)

    reply = await chat(model="pair")

    assert (reply.status, reply.code) == (503, "no_available_target")
    assert re.search(r"first \(drained by staff, for (600|5\d\d) s\)", reply.error["message"])
    assert 240 <= int(reply.headers["retry-after"]) <= 300


async def test_a_provider_that_is_tried_again_gets_the_next_request(
    chat, pair, order, upstream, second
):
    upstream.will_answer(error_body(), status=429, headers={"retry-after": "600"})
    await chat(model="pair")
    await chat(model="pair")
    assert (len(upstream.requests), len(second.requests)) == (1, 2)

    await order("try_again", "first")
    async with asyncio.timeout(WITHIN_S):
        while len(upstream.requests) < 2:
            await asyncio.sleep(0.1)
            reply = await chat(model="pair")

    assert reply.content != FROM_SECOND
