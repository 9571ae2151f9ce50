"""What is too long for a model, or not allowed by its provider, is tried at other models."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from gateway import simulation
from gateway.simulation import Imagined
from registry.models import Intervention, Revision, Route, ServedModel
from tests import factories
from tests.fakes.upstream import STREAM, USAGE, completion, error_body
from tests.gateway.conftest import HELLO
from tests.gateway.test_decision import why

TOO_LONG = error_body("Too long.", type="x", code="context_length_exceeded")
REFUSED = error_body("No.", type="x", code="content_filter")
FROM_LARGE, FROM_OPEN = completion("From large."), completion("From open.")


@pytest.fixture
def models(courier, upstream):
    """`tiny-one` falls back to `large`, then `larger`, for length; to `open` for content."""

    async def make(**fields):
        def rows():
            provider = factories.make_provider("beta", base_url=upstream.url)
            for name in ("large", "larger", "open"):
                factories.make_model(name, provider)
            factories.make_model("tiny-one", provider, **(fallbacks() | fields))

        await courier.make(rows)

    return make


def fallbacks(context=("large", "larger"), content=("open",)):
    return {"context_fallbacks": list(context), "content_fallbacks": list(content)}


def asked(upstream):
    return [request["model"] for request in upstream.requests]


async def test_a_request_that_is_too_long_is_served_by_the_model_named_for_it(
    chat, models, courier, upstream
):
    await models()
    upstream.for_model("tiny-one", TOO_LONG, status=400)
    upstream.for_model("large", FROM_LARGE)

    reply = await chat(model="tiny-one")

    assert (reply.status, reply.content) == (200, FROM_LARGE)
    assert reply.headers["x-courier-model-served"] == "large"
    record = await courier.record(reply.request_id)
    assert (record.model_asked, record.model_served) == ("tiny-one", "large")
    assert (record.outcome, record.attempts) == ("ok", 2)


async def test_refused_content_is_served_by_the_model_named_for_that(chat, models, upstream):
    await models()
    upstream.for_model("tiny-one", REFUSED, status=400)
    upstream.for_model("open", FROM_OPEN)

    reply = await chat(model="tiny-one")

    assert (reply.content, asked(upstream)) == (FROM_OPEN, ["tiny-one", "open"])


async def test_streams_move_on_too(chat, models, upstream):
    await models()
    upstream.for_model("tiny-one", TOO_LONG, status=400)
    upstream.for_model("large", *STREAM)

    reply = await chat(model="tiny-one", stream=True)

    assert reply.content == b"".join(part for part in STREAM if part != USAGE)


async def test_another_refusal_moves_nowhere(chat, models, upstream):
    await models()
    upstream.for_model("tiny-one", error_body("Bad.", code="bad_tools"), status=400)

    reply = await chat(model="tiny-one")

    assert (reply.code, asked(upstream)) == ("bad_tools", ["tiny-one"])


async def test_the_next_of_the_list_is_tried_and_the_first_refusal_is_told(chat, models, upstream):
    await models()
    upstream.for_model("tiny-one", TOO_LONG, status=400)
    for name in ("large", "larger"):
        upstream.for_model(
            name, error_body("Still too long.", code="context_length_exceeded"), status=400
        )

    reply = await chat(model="tiny-one")

    assert asked(upstream) == ["tiny-one", "large", "larger"]
    assert reply.error["message"].startswith("Too long.")
    assert reply.headers["x-should-retry"] == "false"


async def test_r20_models_do_not_add_to_the_calls_that_are_allowed(chat, models, courier, upstream):
    await models(max_attempts=2)
    upstream.always(TOO_LONG, status=400)

    reply = await chat(model="tiny-one")

    assert asked(upstream) == ["tiny-one", "large"]
    assert (await courier.record(reply.request_id)).model_served == "large"
    _, told = await why(reply)
    assert told["left"] == [["tiny-one", "context_length_exceeded"]]


async def test_lists_are_followed_for_one_hop_only(chat, models, courier, upstream):
    def cycle():
        large = ServedModel.objects.get(name="large")
        large.context_fallbacks = ["open", "tiny-one"]
        large.save()

    await models(**fallbacks(context=("large",)))
    await courier.make(cycle)
    upstream.always(TOO_LONG, status=400)

    await chat(model="tiny-one")

    assert asked(upstream) == ["tiny-one", "large"]


async def test_a_model_is_no_fallback_of_its_own_and_one_that_is_gone_is_none(
    chat, models, upstream
):
    await models(**fallbacks(context=("tiny-one", "gone", "large")))
    upstream.always(TOO_LONG, status=400)

    await chat(model="tiny-one")

    assert asked(upstream) == ["tiny-one", "large"]


async def test_what_is_surely_too_long_goes_there_without_being_tried(
    chat, models, courier, upstream
):
    await models(context_window=10)
    upstream.for_model("large", FROM_LARGE)

    reply = await chat(model="tiny-one", max_tokens=100)

    assert (reply.content, asked(upstream)) == (FROM_LARGE, ["large"])
    assert reply.headers["x-courier-model-served"] == "large"
    _, told = await why(reply)
    assert (told["model"], told["left"]) == ("large", [["tiny-one", "context_length_exceeded"]])


def narrow(*names):
    """Have no more than ten tokens fit into these models."""

    def rows():
        ServedModel.objects.filter(name__in=names).update(context_window=10)
        Revision.bump()

    return rows


async def test_what_is_surely_too_long_for_another_as_well_goes_to_the_next(
    chat, models, courier, upstream
):
    await models()
    await courier.make(narrow("tiny-one", "large"))

    await chat(model="tiny-one", max_tokens=100)

    assert asked(upstream) == ["larger"]


async def test_what_is_surely_too_long_for_all_is_told_of_the_one_asked_for(
    chat, models, courier, upstream
):
    await models()
    await courier.make(narrow("tiny-one", "large", "larger"))

    reply = await chat(model="tiny-one", max_tokens=100)

    assert (reply.status, reply.code) == (400, "context_length_exceeded")
    assert "'tiny-one'" in reply.error["message"]
    _, told = await why(reply)
    assert "left" not in told


def refuse(*names):
    """Have a policy leave no route of these models."""

    def rows():
        factories.make_policy(name="not here", when={"models": names}, then={"exclude": ["*"]})

    return rows


BY_POLICY = [["large", "refused_by_policy"], ["larger", "refused_by_policy"]]


async def test_routes_of_others_that_a_policy_refuses_are_not_told_as_those_of_the_one_asked_for(
    chat, models, courier, key
):
    await models(context_window=10)
    await courier.make(refuse("large", "larger"))

    reply = await chat(model="tiny-one", max_tokens=100)

    assert reply.code == "context_length_exceeded"
    _, told = await why(reply)
    assert told["unable"] == BY_POLICY
    assert not told.keys() & {"model", "left", "dropped", "policies"}
    body = {"model": "tiny-one", "messages": [HELLO], "max_tokens": 100}
    foreseen = await simulation.foresee(Imagined(key, "chat", body=orjson.dumps(body)))
    assert orjson.loads(orjson.dumps(foreseen.told)) == told


async def test_a_policy_that_refuses_the_first_of_the_others_leads_to_the_next(
    chat, models, courier, upstream
):
    await models(context_window=10)
    await courier.make(refuse("large"))

    _, told = await why(await chat(model="tiny-one", max_tokens=100))

    assert asked(upstream) == ["larger"]
    assert (told["model"], told["unable"]) == ("larger", BY_POLICY[:1])


async def test_after_others_that_a_policy_refuses_the_routes_that_were_tried_are_told(
    chat, models, courier, upstream
):
    await models()
    await courier.make(refuse("large", "larger"))
    upstream.for_model("tiny-one", TOO_LONG, status=400)

    _, told = await why(await chat(model="tiny-one"))

    assert (told["model"], told["unable"]) == ("tiny-one", BY_POLICY)
    assert [target[4] for target in told["targets"]] == ["tiny-one"]
    assert not told.keys() & {"left", "dropped", "policies"}


async def test_what_is_surely_too_long_goes_past_another_that_has_no_route(
    chat, models, courier, upstream
):
    await models(context_window=10)
    await courier.make(Route.objects.filter(model__name="large").delete)

    _, told = await why(await chat(model="tiny-one", max_tokens=100))

    assert asked(upstream) == ["larger"]
    assert told["unable"] == [["large", "no_available_target"]]


async def test_after_others_that_may_not_be_called_now_the_routes_that_were_tried_are_told(
    chat, models, courier, upstream
):
    def drained():
        for route in Route.objects.filter(model__name__in=["large", "larger"]):
            until = datetime.now(UTC) + timedelta(minutes=10)
            Intervention.objects.create(kind="drain", route=route, until=until, begun_by="alice")

    await models()
    await courier.make(drained)
    upstream.for_model("tiny-one", TOO_LONG, status=400)

    _, told = await why(await chat(model="tiny-one"))

    assert [name for name, _ in told["unable"]] == ["large", "larger"]
    assert [target[4] for target in told["targets"]] == ["tiny-one"]
    assert "dropped" not in told


async def test_routes_of_the_one_asked_for_are_not_told_as_those_of_another(
    chat, models, courier, upstream
):
    def limited():
        route = ServedModel.objects.get(name="tiny-one").routes.get()
        full = factories.make_provider("full", base_url=upstream.url)
        factories.make_upstream_key(full, requests_per_minute=1)
        factories.make_route(route.model, full, upstream_model="full-one")
        type(route).objects.filter(pk=route.pk).update(priority=1)
        Revision.bump()

    await models()
    await courier.make(limited)
    await chat(model="tiny-one")
    upstream.for_model("tiny-one", TOO_LONG, status=400)

    _, told = await why(await chat(model="tiny-one"))

    assert asked(upstream) == ["full-one", "tiny-one", "large"]
    assert (told["model"], "dropped" in told) == ("large", False)
    assert [target[4] for target in told["targets"]] == ["large"]


async def test_the_answer_costs_what_the_model_that_gave_it_costs(
    chat, courier, upstream, models, key
):
    def priced():
        for name, price in (("tiny-one", "1"), ("large", "100")):
            factories.make_price(ServedModel.objects.get(name=name), input=price, output=price)

    await models()
    await courier.make(priced)
    upstream.for_model("tiny-one", TOO_LONG, status=400)

    reply = await chat(model="tiny-one")

    assert (await courier.record(reply.request_id)).cost_nano == 10 * 100_000


async def test_a_budget_that_does_not_cover_the_other_model_leaves_the_refusal(
    chat, courier, upstream, models, key
):
    def priced():
        factories.make_budget(key=key, amount="0.01", hard=True)
        factories.make_price(ServedModel.objects.get(name="large"), input="9999", output="9999")

    await models(**fallbacks(context=("large",)))
    await courier.make(priced)
    upstream.for_model("tiny-one", TOO_LONG, status=400)

    reply = await chat(model="tiny-one", max_tokens=100)

    assert (reply.code, asked(upstream)) == ("context_length_exceeded", ["tiny-one"])
    _, told = await why(reply)
    assert (told["model"], "left" in told) == ("tiny-one", False)
    assert told["unable"] == [["large", "budget_exceeded"]]


async def test_the_permission_for_the_model_asked_for_is_enough(
    courier, models, team, upstream, chat
):
    await models()
    upstream.for_model("tiny-one", TOO_LONG, status=400)
    key = await courier.make(lambda: factories.make_key(team, allowed_models=["tiny-one"]))

    assert (await chat(model="tiny-one", key=key)).status == 200
