"""What is known of routes, on the path of real requests."""

import pytest

from registry.models import Certification, CertifiedTrait, Provider, ServedModel
from tests import factories
from tests.fakes.upstream import completion

PIXEL = "data:image/png;base64,iVBORw0KGgo="
IMAGE = {
    "role": "user",
    "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ],
}
DROPPED = "x-courier-dropped-params"


@pytest.fixture
def told(courier):
    """Say something of the model `tiny`."""

    async def tell(**fields):
        def save():
            model = ServedModel.objects.get(name="tiny")
            for name, value in fields.items():
                setattr(model, name, value)
            model.save()

        await courier.make(save)

    return tell


async def test_an_image_is_never_sent_to_a_model_that_reads_none(chat, told, upstream):
    await told(vision=False)

    reply = await chat(messages=[IMAGE])

    assert (reply.status, reply.headers[DROPPED]) == (200, "images")
    assert PIXEL.encode() not in upstream.requests[0].body
    assert b"(image left out)" in upstream.requests[0].body


async def test_it_is_announced_in_a_stream_too(chat, told, upstream):
    await told(vision=False)

    reply = await chat(messages=[IMAGE], stream=True)

    assert reply.headers[DROPPED] == "images"
    assert reply.data[-1] == b"[DONE]"


async def test_or_the_request_is_refused(chat, told, upstream):
    await told(vision=False, on_unsupported="refuse")

    reply = await chat(messages=[IMAGE])

    assert (reply.status, reply.code, reply.error["param"]) == (
        400,
        "unsupported_parameter",
        "images",
    )
    assert upstream.requests == []


async def test_what_the_model_is_known_to_read_passes_as_it_is(chat, told, upstream):
    await told(vision=True)

    reply = await chat(messages=[IMAGE])

    assert DROPPED not in reply.headers
    assert PIXEL.encode() in upstream.requests[0].body


async def test_what_lacks_nothing_that_is_asked_passes_as_it_is(chat, told, upstream):
    await told(vision=False)

    reply = await chat(made_up=1)

    assert DROPPED not in reply.headers
    assert upstream.requests[0]["made_up"] == 1


async def test_a_route_that_reads_images_is_asked_before_one_that_does_not(
    chat, told, courier, upstream
):
    await told(vision=False)

    def another():
        alpha = Provider.objects.get(name="alpha")
        model = ServedModel.objects.get(name="tiny")
        factories.make_route(model, alpha, upstream_model="seeing", priority=9, vision=True)

    await courier.make(another)

    reply = await chat(messages=[IMAGE])

    assert DROPPED not in reply.headers
    assert [asked["model"] for asked in upstream.requests] == ["seeing"]


async def test_what_is_surely_too_long_is_refused_before_it_is_sent(chat, told, upstream):
    await told(context_window=1000)

    reply = await chat(messages=[{"role": "user", "content": "word " * 3000}])

    assert (reply.status, reply.code) == (400, "context_length_exceeded")
    assert upstream.requests == []


async def test_what_may_fit_is_the_provider_s_to_judge(chat, told, upstream):
    await told(context_window=1000)

    assert (await chat(messages=[{"role": "user", "content": "word " * 900}])).status == 200


async def test_a_bound_beyond_the_limit_passes_to_a_provider_of_the_same_format(
    chat, told, upstream
):
    await told(output_limit=100)

    reply = await chat(max_tokens=4000)

    assert DROPPED not in reply.headers
    assert upstream.requests[0]["max_tokens"] == 4000


async def test_a_model_whose_routes_wait_for_certification_says_so(chat, courier, upstream):
    def demand():
        route = ServedModel.objects.get(name="tiny").routes.get()
        route.requires_certified = ["tools"]
        route.save()

    await courier.make(demand)

    reply = await chat()

    assert (reply.status, reply.code) == (503, "not_certified")
    assert "tools" in reply.error["message"]
    assert upstream.requests == []


async def test_it_is_served_from_the_moment_on_at_which_a_run_has_passed(chat, courier, upstream):
    def demand():
        route = ServedModel.objects.get(name="tiny").routes.get()
        route.requires_certified = ["tools"]
        route.save()
        run = Certification.objects.create(
            provider=route.provider, upstream_model=route.upstream_model
        )
        CertifiedTrait.objects.create(certification=run, trait="tools", verdict="passed")
        run.finished_at = run.started_at
        run.save(update_fields=["finished_at"])

    await courier.make(demand)

    assert (await chat()).status == 200


async def test_a_hard_budget_covers_the_longest_answer_that_may_come(
    chat, told, courier, key, upstream
):
    # 60 cents per million tokens: 4,096 of them would fit into half a cent, 100,000 do not.
    await courier.make(lambda: factories.make_budget(key=key, amount="0.005"))
    upstream.always(completion())
    assert (await chat()).status == 200

    await told(output_limit=100_000)

    assert (await chat()).status == 429
