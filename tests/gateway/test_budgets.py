"""Budgets as a client meets them."""

import pytest

from tests import factories


@pytest.fixture
def budgeted(courier, key):
    async def make(amount, **fields):
        return await courier.make(
            lambda: factories.make_budget(amount=amount, **(fields or {"key": key}))
        )

    return make


@pytest.fixture(autouse=True)
def _known_soon(monkeypatch):
    monkeypatch.setattr("usage.budget_keeper.YOUNG_S", 0)


async def test_a_budget_that_is_not_used_up_lets_requests_through(chat, budgeted):
    await budgeted(1)

    assert (await chat()).status == 200


async def test_a_budget_of_nothing_refuses_what_costs(chat, budgeted, upstream):
    await budgeted(0)

    reply = await chat()

    assert (reply.status, reply.code, reply.error["type"]) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )
    assert reply.headers["x-should-retry"] == "false"
    assert reply.error["message"].startswith(
        "The monthly budget of $0.00 for this key is used up. It begins anew at "
    )
    assert not upstream.requests


async def test_what_a_request_cost_is_missing_from_the_next_budget(chat, budgeted, courier, key):
    await budgeted("0.0001")
    answered = await chat(max_tokens=1)
    cost_nano = (await courier.record(answered.request_id)).cost_nano
    assert cost_nano > 0

    await budgeted(f"{(cost_nano + 999) // 1000 * 2 - 1}e-6", key=key, period="day")
    replies = [await chat(max_tokens=1) for _ in range(3)]

    assert (replies[-1].status, replies[-1].code) == (429, "insufficient_quota")


async def test_a_team_s_budget_is_refused_by_its_name(chat, budgeted, team):
    await budgeted(0, team=team, period="total")

    reply = await chat()

    assert "The total budget of $0.00 for this key's team is used up." in reply.error["message"]
    assert "retry-after" not in reply.headers
