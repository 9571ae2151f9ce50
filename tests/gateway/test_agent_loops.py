"""An agent that asks without end is stopped by what its key is allowed."""

import pytest

from tests import factories

LIMITED = "rate_limit_exceeded"
#: What bounds a key, and the code that its refusals have.
BOUNDS = {
    "requests in a minute": ({"metric": "requests", "amount": 3, "window_s": 60}, LIMITED),
    "requests in a day": ({"metric": "requests", "amount": 3, "window_s": 86400}, LIMITED),
    "tokens in an hour": ({"metric": "tokens", "amount": 25, "window_s": 3600}, LIMITED),
    "dollars in a day": ({"amount": "0.00001", "period": "day"}, "insufficient_quota"),
    "dollars in a month": ({"amount": "0.00001", "period": "month"}, "insufficient_quota"),
}


@pytest.mark.parametrize(("bound", "code"), BOUNDS.values(), ids=BOUNDS)
async def test_s47_a_loop_of_requests_comes_to_an_end(chat, courier, team, bound, code):
    def rows():
        key = factories.make_key(team)
        make = factories.make_limit if "metric" in bound else factories.make_budget
        make(key=key, **bound)
        return key

    key = await courier.make(rows)
    replies = [await chat(key=key, max_tokens=5) for _ in range(8)]

    assert (replies[0].status, replies[-1].status, replies[-1].code) == (200, 429, code)


async def test_s47_an_agent_that_is_stopped_stops_no_other(chat, courier, team):
    def rows():
        first, second = factories.make_key(team), factories.make_key(team)
        factories.make_limit(key=first, amount=1)
        return first, second

    looping, other = await courier.make(rows)
    told = [(await chat(key=looping)).status for _ in range(3)]

    assert (told, (await chat(key=other)).status) == ([200, 429, 429], 200)
