"""Strategies, sessions, wildcards and policies, as requests meet them."""

import asyncio

import pytest

from gateway import load as load_module
from gateway import simulation
from gateway.breaker import FAILURES_TO_OPEN, breakers
from gateway.choice import LIMITS
from gateway.errors import NoAvailableTarget, UpstreamAuthFailed, UpstreamRateLimited
from gateway.routing import Dropped, Plan
from gateway.simulation import Imagined
from gateway.throttle import LEAST, throttle
from registry import snapshot
from tests import factories
from tests.fakes.upstream import Gate, completion, error_body
from tests.gateway.conftest import HELLO, WITHIN_S, until
from tests.gateway.targets import make_target
from tests.gateway.test_decision import why


@pytest.fixture
def pair(courier, alpha):
    """Make a model `pair` with two routes at one provider, `dear` and `cheap`."""

    async def make(*policies, **fields):
        def rows():
            model = factories.make_model("pair", priced=False, **fields)
            for name, dollars in (("dear", "100"), ("cheap", "1")):
                route = factories.make_route(model, alpha, upstream_model=name)
                factories.make_price(model, route=route, input=dollars, output=dollars)
            for policy in policies:
                factories.make_policy(**policy)

        await courier.make(rows)

    return make


def asked(upstream):
    """The upstream models that were called, in order."""
    return [request["model"] for request in upstream.requests]


async def ask(chat, upstream, times=1, **body):
    for _ in range(times):
        for name in ("dear", "cheap"):
            upstream.for_model(name, completion())
        reply = await chat(model="pair", **body)
    return reply


async def test_the_cheapest_route_is_asked_first(chat, pair, upstream):
    await pair(strategy="least_cost")

    await ask(chat, upstream, 8)

    assert set(asked(upstream)) == {"cheap"}


async def test_a_session_stays_with_its_route(chat, pair, upstream):
    await pair(stickiness="session")

    for number in range(12):
        await ask(chat, upstream, 3, user=f"user-{number}")

    routes = asked(upstream)
    assert all(len(set(routes[at : at + 3])) == 1 for at in range(0, 36, 3))
    assert set(routes) == {"dear", "cheap"}


async def test_a_session_may_be_named_in_a_header(chat, pair, upstream):
    await pair(stickiness="session")

    for number in range(12):
        await ask(chat, upstream, headers={"x-courier-session": "s"}.items(), user=str(number))

    assert len(set(asked(upstream))) == 1


async def test_the_part_that_a_wildcard_stands_for_is_passed_on(chat, courier, alpha, upstream):
    await courier.make(
        lambda: factories.make_route(
            factories.make_model("vendor/*"), alpha, upstream_model="hosted-*"
        )
    )
    upstream.for_model("hosted-large-2", completion())

    reply = await chat(model="vendor/large-2")

    assert (reply.status, asked(upstream)) == (200, ["hosted-large-2"])
    assert reply.headers["x-courier-model-served"] == "vendor/*"


async def test_routes_that_cannot_serve_a_request_are_told_with_the_reason(
    chat, courier, alpha, upstream
):
    def rows():
        model = factories.make_model("mixed", priced=False)
        factories.make_route(model, alpha, upstream_model="unpriced")
        for name, vision in (("seeing", True), ("blind", False)):
            route = factories.make_route(model, alpha, upstream_model=name, vision=vision)
            factories.make_price(model, route=route)

    await courier.make(rows)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

    _, told = await why(await chat(model="mixed", messages=[{**HELLO, "content": [image]}]))

    reasons = {each[4]: each[5] for each in told["dropped"]}
    assert reasons == {"unpriced": "not_priced", "blind": "cannot_serve"}
    assert [each[4] for each in told["targets"]] == ["seeing"]


async def test_a_policy_sends_a_team_elsewhere(chat, pair, upstream):
    await pair({"when": {"teams": ["research"]}, "then": {"pin": ["*/cheap"]}})

    await ask(chat, upstream, 6)

    assert set(asked(upstream)) == {"cheap"}


async def test_a_policy_for_others_changes_nothing(chat, pair, upstream):
    await pair({"when": {"teams": ["sales"]}, "then": {"exclude": ["*"]}})

    assert (await ask(chat, upstream)).status == 200


async def test_where_policies_leave_no_route_nobody_is_called(chat, pair, upstream):
    await pair({"name": "cheap only", "then": {"max_cost": "0"}})

    reply = await ask(chat, upstream)

    assert (reply.status, reply.code) == (403, "refused_by_policy")
    assert reply.error["param"] == "model"
    assert "cheap only" in reply.error["message"]
    assert reply.headers["x-should-retry"] == "false"
    assert asked(upstream) == []


@pytest.mark.parametrize(
    "when",
    [{"keys": ["notebook"]}, {"models": ["twin"]}, {"models": ["pair"]}, {"endpoints": ["chat"]}],
)
async def test_a_policy_by_who_asks_for_what(chat, pair, when):
    await pair({"when": when, "then": {"exclude": ["*"]}}, aliases=("twin",))

    assert (await chat(model="twin")).code == "refused_by_policy"


async def test_a_policy_by_tag_and_size(chat, pair, upstream):
    when = {"tags": ["bulk"], "input_tokens_at_least": 1}
    await pair({"when": when, "then": {"exclude": ["*/dear"]}})

    await ask(chat, upstream, 6, metadata={"tags": "bulk"})

    assert set(asked(upstream)) == {"cheap"}


async def test_a_policy_by_what_is_needed(chat, pair, upstream):
    needing = {"when": {"needs": ["tools"]}, "then": {"pin": ["*/cheap"]}}
    await pair({"then": {"prefer": ["*/dear"]}}, needing)
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}

    await ask(chat, upstream, tools=[tool])
    await ask(chat, upstream)

    assert asked(upstream) == ["cheap", "dear"]


async def test_what_is_preferred_comes_first_and_the_other_is_its_fallback(chat, pair, upstream):
    await pair({"then": {"prefer": ["*/dear"]}}, strategy="least_cost")
    upstream.for_model("dear", b"{}", status=500)
    upstream.for_model("cheap", completion())

    reply = await chat(model="pair")

    assert (reply.status, asked(upstream)) == (200, ["dear", "cheap"])


async def test_a_budget_that_is_nearly_used_up_leads_to_the_cheap_route(
    chat, pair, upstream, team, courier
):
    policy = {"when": {"budget_used_at_least": 50}, "then": {"pin": ["*/cheap"]}}
    await pair(policy, strategy="priority")
    await courier.make(lambda: factories.make_budget(amount="0.20", team=team))
    # What `dear` may cost with 1,000 tokens of output is half of it.
    await ask(chat, upstream, max_tokens=1000)
    before = len(asked(upstream))

    reply = await ask(chat, upstream, 12, max_tokens=1500)

    assert reply.status == 200
    assert set(asked(upstream)[before:]) == {"cheap"}


async def test_a_budget_too_small_for_the_dear_route_is_enough_for_the_cheap_one(
    chat, pair, upstream, team, courier
):
    policy = {"when": {"budget_used_at_least": 90}, "then": {"pin": ["*/cheap"]}}
    await pair(policy)
    await courier.make(lambda: factories.make_budget(amount="0.05", team=team))

    reply = await ask(chat, upstream, max_tokens=1000)

    assert (reply.status, asked(upstream)) == (200, ["cheap"])


async def test_a_budget_that_is_held_for_others_is_enough_for_the_cheap_route(
    chat, pair, upstream, team, courier
):
    policy = {"when": {"budget_used_at_least": 90}, "then": {"pin": ["*/cheap"]}}
    await pair({"then": {"prefer": ["*/dear"]}}, policy)
    await courier.make(lambda: factories.make_budget(amount="0.15", team=team))
    is_held = Gate()
    upstream.for_model("dear", completion(), after=is_held)
    upstream.for_model("cheap", completion())
    # What `dear` may cost with 1,000 tokens of output is two thirds of it.
    held = asyncio.ensure_future(chat(model="pair", max_tokens=1000))
    await until(lambda: upstream.requests)

    reply = await chat(model="pair", max_tokens=1000)
    is_held.open()

    assert (reply.status, asked(upstream)) == (200, ["dear", "cheap"])
    assert (await held).status == 200


#: What the second leaves out, the first lets in as soon as it is known that there is a budget.
LET_IN = (
    {"position": 1, "when": {"budget_used_at_least": 0}, "then": {"last": True}},
    {"position": 2, "then": {"exclude": ["*/dear"]}},
)


async def test_what_a_policy_for_budgets_lets_in_is_held_for(
    chat, pair, upstream, team, courier, key
):
    await pair(*LET_IN)
    await courier.make(lambda: factories.make_budget(amount="1", team=team))

    reply = await ask(chat, upstream, max_tokens=1000)

    imagined = Imagined(key, "chat", model="pair", input_tokens=1, output_tokens=1000)
    foreseen = await simulation.foresee(imagined)
    assert float(reply.headers["x-courier-hold"]) > 0.1
    assert foreseen.told["hold"] > 10**8


async def test_what_a_policy_for_budgets_lets_in_is_refused_where_a_budget_does_not_cover_it(
    chat, pair, upstream, team, courier, key
):
    await pair(*LET_IN)
    await courier.make(lambda: factories.make_budget(amount="0.05", team=team))

    reply = await ask(chat, upstream, max_tokens=1000)

    imagined = Imagined(key, "chat", model="pair", input_tokens=1, output_tokens=1000)
    foreseen = await simulation.foresee(imagined)
    assert (reply.status, reply.code) == (429, "budget_exceeded")
    assert (foreseen.refusal.status, foreseen.error.code) == (429, "budget_exceeded")
    assert asked(upstream) == []


async def test_what_was_held_for_a_route_that_a_policy_for_budgets_leaves_out_stays_held(
    chat, pair, upstream, team, courier
):
    await pair({"when": {"budget_used_at_least": 0}, "then": {"pin": ["*/cheap"]}})
    await courier.make(lambda: factories.make_budget(amount="1", team=team))

    reply = await ask(chat, upstream, max_tokens=1000)

    assert asked(upstream) == ["cheap"]
    assert float(reply.headers["x-courier-hold"]) > 0.1


async def test_a_policy_for_budgets_that_leaves_no_route_is_told_as_what_refuses(
    chat, pair, upstream, team, courier, key
):
    await pair({"when": {"budget_used_at_least": 0}, "then": {"exclude": ["*"]}})
    await courier.make(lambda: factories.make_budget(amount="1", team=team))

    reply = await ask(chat, upstream)

    assert (reply.status, reply.code) == (403, "refused_by_policy")
    assert asked(upstream) == []
    foreseen = await simulation.foresee(Imagined(key, "chat", model="pair"))
    assert (foreseen.refusal.status, foreseen.error.code) == (403, "refused_by_policy")


async def test_without_such_a_policy_it_is_refused(chat, pair, upstream, team, courier):
    await pair()
    await courier.make(lambda: factories.make_budget(amount="0.05", team=team))

    reply = await ask(chat, upstream, max_tokens=1000)

    assert (reply.status, reply.code) == (429, "insufficient_quota")


async def test_nothing_is_in_flight_when_all_have_answered(chat, pair, upstream):
    await pair(strategy="least_busy")

    await ask(chat, upstream, 4)

    assert all(not known.in_flight for known in load_module.load._measured.values())


#: Who is out for which reason and how long, and what the client is told.
WAITS = [
    ([(1, "key_refused", None)], UpstreamAuthFailed, None, "refused it."),
    (
        [(1, "key_refused", None), (2, "probing", 8.0)],
        NoAvailableTarget, 8.0, "provider-1 (its key was refused), provider-2 (probing, for 8 s).",
    ),
    (
        [(1, "rate_limited", 9.2), (2, "key_rate_limited", 3.1)],
        UpstreamRateLimited, 3.1,
        "provider-1 (at its rate limit, for 10 s), provider-2 (its key is at its rate limit, "
        "for 4 s).",
    ),
    (
        [(1, "rate_limited", 9.0), (2, "drained", None)],
        NoAvailableTarget, 9.0,
        "provider-1 (at its rate limit, for 9 s), provider-2 (drained by staff).",
    ),
    ([(1, "drained", None)], NoAvailableTarget, None, "provider-1 (drained by staff)."),
    ([(1, limit, 2.0) for limit in sorted(LIMITS)], UpstreamRateLimited, 2.0, "for 2 s)."),
    (
        [(1, "rate_limited", 9.0), (1, "rate_limited", 4.0), (1, "rate_limited", 6.0)],
        UpstreamRateLimited, 4.0, "provider-1 (at its rate limit, for 4 s).",
    ),
]  # fmt: skip


async def test_who_may_be_asked_nothing_is_told_why_and_for_how_long(courier, tiny, key):
    judgment = (await simulation.foresee(Imagined(key, "chat", model="tiny"))).judgment

    for outs, kind, retry_after, words in WAITS:
        dropped = [Dropped(make_target(number), *why) for number, *why in outs]
        with pytest.raises(kind) as told:
            judgment.choice.check_plan(Plan([], dropped))
        assert type(told.value) is kind
        assert told.value.retry_after == retry_after
        assert told.value.message.endswith(words)


async def test_how_long_an_answer_takes_is_measured(chat, tiny, upstream):
    (target,) = snapshot.current().model("tiny").targets

    await chat()

    assert 0 < load_module.load.latency_s(target) < WITHIN_S


async def test_names_that_a_client_makes_up_take_no_wildcard_out(chat, courier, alpha, upstream):
    await courier.make(
        lambda: factories.make_route(
            factories.make_model("vendor/*"), alpha, upstream_model="hosted-*"
        )
    )
    upstream.always(error_body(), status=404)
    for number in range(FAILURES_TO_OPEN):
        assert (await chat(model=f"vendor/{number}")).code == "upstream_model_missing"

    (target,) = snapshot.current().model("vendor/large").targets
    assert breakers.out(target) is None


async def test_r34_what_clients_do_wrong_holds_nothing_back(chat, courier, pair, upstream):
    await pair()
    upstream.always(error_body("No such field."), status=400)
    for _ in range(2 * LEAST):
        await chat(model="pair")

    targets = snapshot.current().model("pair").targets
    assert [throttle.probability(target) for target in targets] == [0, 0]
