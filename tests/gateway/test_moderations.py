"""Moderations, end to end."""

import json

import pytest

from gateway.dialects.openai_moderations import openai_moderations
from tests import factories
from tests.gateway.conftest import in_thread

ANSWER = {
    "id": "modr-1",
    "model": "omni-moderation-latest",
    "results": [{"flagged": False, "categories": {}, "category_scores": {}}],
}
PICTURE = [
    {"type": "text", "text": "Look at this"},
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
]


@pytest.fixture
def moderate(courier, key, upstream):
    upstream.always(json.dumps(ANSWER).encode())

    async def ask(**body):
        return await courier.post("/v1/moderations", {"model": "tiny", **body}, key=key)

    return ask


@pytest.mark.parametrize("given", ["Hi", ["Hi", "there"], PICTURE])
async def test_every_form_of_input_is_passed_on(moderate, upstream, given):
    reply = await moderate(input=given)

    assert (reply.status, reply.json) == (200, ANSWER)
    sent = upstream.requests[0]
    assert (sent.path, sent["model"]) == ("/v1/moderations", "alpha-tiny")
    assert sent["input"] == given


@pytest.mark.parametrize("given", [None, 5, {"a": 1}, [1], [[1]]])
async def test_other_input_is_refused(moderate, upstream, given):
    reply = await moderate(input=given)

    assert (reply.status, reply.error["param"].split(".")[0]) == (400, "input")
    assert upstream.requests == []


async def test_a_request_without_a_model_means_the_usual_one(
    courier, key, alpha, moderate, upstream
):
    await courier.make(lambda: factories.make_model("omni-moderation-latest", alpha))

    reply = await courier.post("/v1/moderations", {"input": "Hi"}, key=key)

    assert (reply.status, upstream.requests[0]["model"]) == (200, "omni-moderation-latest")


async def test_what_is_free_costs_nothing(courier, alpha, key, moderate):
    await courier.make(lambda: factories.make_model("free", alpha))

    record = await courier.record((await moderate(model="free", input="Hi there")).request_id)

    assert (record.operation, record.cost_nano) == ("moderations", 0)
    assert (record.usage_source, record.input_tokens) == ("estimated", 2)


async def test_a_model_without_a_price_is_refused(courier, alpha, moderate):
    await courier.make(lambda: factories.make_model("unpriced", alpha, priced=False))

    assert (await moderate(model="unpriced", input="Hi")).code == "model_not_priced"


async def test_a_key_may_be_kept_from_it(courier):
    key = await in_thread(lambda: factories.make_key(allowed_endpoints=["chat"]))

    reply = await courier.post("/v1/moderations", {"model": "tiny", "input": "Hi"}, key=key)

    assert (reply.status, reply.code) == (403, "endpoint_not_allowed")


@pytest.mark.parametrize(
    ("given", "text"),
    [("a b", "a b"), (["a", "b"], "a\nb"), (PICTURE, "Look at this")],
)
def test_the_words_of_the_input_are_found(given, text):
    assert openai_moderations.input_text({"input": given}) == text


def test_pictures_weigh_in_the_estimate():
    few = openai_moderations.input_estimate({"input": PICTURE[:1]})

    assert openai_moderations.input_estimate({"input": PICTURE}) - few == 800


def test_moderations_have_no_output_to_count():
    assert openai_moderations.output_bound({}) == openai_moderations.answers_asked({}) == 0
    assert openai_moderations.text_in({}) == ""


def test_moderations_are_never_streamed():
    with pytest.raises(TypeError):
        openai_moderations.watch({})
