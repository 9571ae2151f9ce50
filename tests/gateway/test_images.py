"""Images, end to end."""

import base64
import json
import random

import openai
import pytest

from tests import factories
from tests.e2e.client import Call
from tests.fakes.upstream import CUT, STALL, error_body, frame
from tests.gateway.conftest import until
from tests.gateway.test_transcriptions import FORM, form

RANDOM = random.Random(1)
PNG = base64.b64encode(RANDOM.randbytes(30)).decode()
USAGE = {
    "input_tokens": 10,
    "output_tokens": 100,
    "total_tokens": 110,
    "input_tokens_details": {"text_tokens": 8, "image_tokens": 2},
}


def answer(*images, **more):
    data = [{"b64_json": image} for image in images]
    return json.dumps({"created": 1700000000, "data": data, **more}).encode()


def completed(image=PNG, kind="image_generation.completed", **more):
    return frame({"type": kind, "b64_json": image, **more})


PARTIAL = completed(kind="image_generation.partial_image", partial_image_index=0)
#: Larger than what is held back of an answer, and than what events usually are.
LARGE = base64.b64encode(RANDOM.randbytes(1_500_000)).decode()


@pytest.fixture
async def painter(courier, alpha):
    """A model whose images cost 4 cents each, and its tokens 10 and 40 dollars a million."""

    def rows():
        model = factories.make_model("painter", priced=False)
        factories.make_route(model, alpha, upstream_model="alpha-painter")
        return factories.make_price(model, input="10", output="40", image="0.04")

    return await courier.make(rows)


@pytest.fixture
def paint(courier, key, painter):
    async def ask(**body):
        body = {"model": "painter", "prompt": "A cat", **body}
        return await courier.post("/v1/images/generations", body, key=key)

    return ask


@pytest.fixture
def call(courier, key, painter):
    body = {"model": "painter", "prompt": "A cat"}
    return Call(courier, key=key.secret, path="/v1/images/generations", **body)


@pytest.fixture(autouse=True)
def _known_soon(monkeypatch):
    monkeypatch.setattr("usage.budget_keeper.YOUNG_S", 0)


async def test_an_answer_is_passed_through_byte_by_byte(paint, upstream):
    content = answer(PNG).replace(b":", b" : ")
    upstream.will_answer(content)

    reply = await paint(quality="low", size="1024x1024")

    assert (reply.status, reply.content) == (200, content)
    assert reply.headers["content-type"] == "application/json"
    sent = upstream.requests[0]
    assert (sent.path, sent["model"], sent["quality"]) == (
        "/v1/images/generations", "alpha-painter", "low",
    )  # fmt: skip


async def test_tokens_and_images_are_recorded_and_charged(paint, courier, upstream):
    upstream.will_answer(answer(PNG, PNG, usage=USAGE))

    record = await courier.record((await paint(n=2)).request_id)

    assert (record.operation, record.usage_source) == ("images", "provider")
    assert (record.input_tokens, record.output_tokens, record.images) == (10, 100, 2)
    assert record.cost_nano == 10 * 10_000 + 100 * 40_000 + 2 * 40_000_000


async def test_without_usage_the_images_are_counted(paint, courier, upstream):
    upstream.will_answer(answer(PNG, PNG, PNG))

    record = await courier.record((await paint(n=3)).request_id)

    assert (record.usage_source, record.images, record.cost_nano) == ("provider", 3, 120_000_000)


async def test_a_large_answer_is_passed_on_as_it_comes(paint, courier, upstream):
    content = answer(LARGE, usage=USAGE)
    upstream.will_answer(*(content[at : at + 100_000] for at in range(0, len(content), 100_000)))

    reply = await paint()

    assert (reply.content == content, "content-length" in reply.headers) == (True, False)
    record = await courier.record(reply.request_id)
    assert (record.outcome, record.output_tokens, record.images) == ("ok", 100, 1)


async def test_the_record_is_made_before_the_last_byte_leaves(call, courier, upstream):
    upstream.will_answer(answer(LARGE)[:-1], STALL)

    async with call:
        await call.read_head()
        while len(call.reply.body) < len(answer(LARGE)) - 2:
            await call.read_piece()

    assert call.reply.body == answer(LARGE)[:-2]


async def test_a_large_answer_that_breaks_off_never_looks_complete(call, courier, upstream):
    upstream.will_answer(answer(LARGE)[:-1000], CUT)

    async with call:
        await call.read_head()
        with pytest.raises(EOFError):
            await call.read_rest()

    record = await courier.last_record()
    assert (record.outcome, record.end_reason) == ("stream_interrupted", "upstream_cut")
    assert (record.usage_source, record.images) == ("estimated", 1)
    assert record.output_tokens > 0


async def test_a_large_answer_that_is_no_answer_never_looks_complete(call, courier, upstream):
    upstream.will_answer(answer(LARGE)[:-1])

    async with call:
        await call.read_head()
        with pytest.raises(EOFError):
            await call.read_rest()

    assert (await courier.last_record()).outcome == "stream_interrupted"


async def test_an_answer_that_is_too_large_is_broken_off(call, courier, upstream, settings):
    settings.COURIER_MAX_ANSWER = 1_000_000
    upstream.will_answer(answer(LARGE)[:500_000], answer(LARGE)[500_000:])

    async with call:
        await call.read_head()
        with pytest.raises(EOFError):
            await call.read_rest()

    assert len(call.reply.body) < 1_000_000


@pytest.mark.parametrize("parts", [(answer(PNG)[:-5], CUT), (error_body(),)])
async def test_another_try_is_made_while_nothing_has_left(paint, upstream, parts):
    upstream.will_answer(*parts)
    upstream.will_answer(answer(PNG))

    reply = await paint()

    assert (reply.status, reply.headers["x-courier-attempts"]) == (200, "2")


@pytest.mark.parametrize("content", [answer(PNG)[:-5], b'{"data": 5}', b"[]", b""])
async def test_what_is_no_answer_is_not_passed_on(paint, upstream, content):
    upstream.will_answer(content)

    reply = await paint()

    assert (reply.status, reply.code) == (502, "upstream_bad_response")


async def test_something_else_than_json_is_no_answer(paint, upstream):
    upstream.will_answer(answer(PNG), headers={"content-type": "text/html"})

    assert (await paint()).code == "upstream_bad_response"


async def test_events_are_passed_on_as_they_are(paint, upstream, courier):
    upstream.will_answer(PARTIAL, completed(usage=USAGE))

    reply = await paint(stream=True, partial_images=1)

    assert reply.content == PARTIAL + completed(usage=USAGE)
    record = await courier.record(reply.request_id)
    assert (record.outcome, record.streamed, record.images) == ("ok", True, 1)
    assert (record.input_tokens, record.output_tokens) == (10, 100)


async def test_events_may_be_megabytes_long(paint, upstream, courier):
    content = completed(LARGE, usage=USAGE)
    upstream.will_answer(content[:700_000], content[700_000:])

    reply = await paint(stream=True)

    assert reply.content == content
    assert (await courier.record(reply.request_id)).output_tokens == 100


async def test_a_stream_that_breaks_off_ends_with_an_error(paint, upstream, courier):
    upstream.will_answer(PARTIAL, PARTIAL, CUT)

    reply = await paint(stream=True)

    assert reply.failure["code"] == "stream_interrupted"
    assert (await courier.record(reply.request_id)).images == 1


async def test_a_stream_is_complete_with_the_last_image_asked_for(paint, upstream):
    upstream.will_answer(completed(), completed(), STALL)

    reply = await paint(stream=True, n=2)

    assert reply.content == completed() * 2


async def test_a_stream_with_fewer_images_is_complete_when_it_closes(paint, upstream, courier):
    upstream.will_answer(PARTIAL, completed(usage=USAGE))

    reply = await paint(stream=True, n=2)

    assert reply.content == PARTIAL + completed(usage=USAGE)
    assert (await courier.record(reply.request_id)).outcome == "ok"


@pytest.mark.parametrize(("images", "status"), [(1, 200), (2, 200), (3, 429)])
async def test_a_budget_has_to_cover_every_image_asked_for(
    courier, key, paint, painter, upstream, images, status
):
    def rows():
        painter.delete()
        factories.make_price(painter.model, input="0", output="0", image="0.04")
        factories.make_budget(key=key, amount="0.08")

    await courier.make(rows)
    upstream.will_answer(answer(*[PNG] * images))

    assert (await paint(n=images)).status == status


@pytest.mark.parametrize("field", [{"prompt": 5}, {"n": 0}, {"n": "2"}, {"model": None}])
async def test_what_courier_reads_must_be_right(paint, upstream, field):
    reply = await paint(**field)

    assert (reply.status, [reply.error["param"]]) == (400, list(field))
    assert upstream.requests == []


async def test_a_key_needs_the_permission(courier, paint, team, key):
    await courier.make(lambda: type(key).objects.update(allowed_endpoints=["chat"]))

    assert (await paint()).code == "endpoint_not_allowed"


async def test_the_upstream_of_a_client_that_leaves_is_left(call, courier, upstream):
    upstream.will_answer(answer(LARGE)[:-1000], STALL)

    async with call:
        await call.read_head()
        await call.read_piece()

    await until(lambda: upstream.departures)
    assert (await courier.last_record()).outcome == "client_disconnected"


async def edit(courier, key, *parts, path="edits"):
    return await courier.request(
        "POST", f"/v1/images/{path}", key=key, headers=FORM, content=form(*parts)
    )


@pytest.mark.parametrize("path", ["edits", "variations"])
async def test_images_are_changed(courier, key, painter, upstream, path):
    upstream.will_answer(answer(PNG, PNG, usage=USAGE))

    reply = await edit(
        courier, key, ("model", "painter"), ("n", "2"), ("image[]", b"1"), ("image[]", b"2"),
        path=path,
    )  # fmt: skip

    assert reply.status == 200
    sent = upstream.requests[0]
    assert sent.path == f"/v1/images/{path}"
    assert sent.body.count(b'name="image[]"; filename="speech.wav"') == 2
    assert b"alpha-painter" in sent.body
    record = await courier.record(reply.request_id)
    assert (record.operation, record.images, record.output_tokens) == ("images", 2, 100)


@pytest.mark.parametrize("size", [1, 2_000_000])
@pytest.mark.parametrize(("images", "status"), [("2", 200), ("3", 429)])
async def test_a_budget_has_to_cover_every_image_that_a_form_asks_for(
    courier, key, painter, upstream, images, status, size
):
    def rows():
        painter.delete()
        factories.make_price(painter.model, input="0", output="0", image="0.04")
        factories.make_budget(key=key, amount="0.08")

    await courier.make(rows)
    upstream.will_answer(answer(PNG, PNG))

    image = ("image", b"1" * size)
    reply = await edit(courier, key, ("model", "painter"), image, ("n", images))

    assert reply.status == status


async def test_images_are_changed_as_a_stream(courier, key, painter, upstream):
    done = completed(kind="image_edit.completed", usage=USAGE)
    upstream.will_answer(completed(kind="image_edit.partial_image"), done)

    reply = await edit(courier, key, ("model", "painter"), ("stream", "true"), ("image", b"1"))

    assert reply.content.endswith(done)
    assert (await courier.record(reply.request_id)).output_tokens == 100


async def test_images_that_are_named_by_urls_need_no_form(courier, key, painter, upstream):
    upstream.will_answer(answer(PNG))
    body = {"model": "painter", "prompt": "Hats", "images": [{"image_url": "https://x.test/a.png"}]}

    reply = await courier.post("/v1/images/edits", body, key=key)

    assert (reply.status, upstream.requests[0]["images"]) == (200, body["images"])
    assert upstream.requests[0].path == "/v1/images/edits"


async def test_the_sdk_changes_images(courier, key, painter, upstream):
    upstream.will_answer(answer(PNG, usage=USAGE))
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{courier.port}/v1", api_key=key.secret)

    async with client:
        images = await client.images.edit(
            model="painter", prompt="Hats", image=[("a.png", b"1"), ("b.png", b"2")], mask=b"3"
        )

    assert images.data[0].b64_json == PNG


async def test_the_sdk_reads_images(courier, key, painter, upstream):
    upstream.will_answer(answer(PNG, usage=USAGE))
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{courier.port}/v1", api_key=key.secret)

    async with client:
        images = await client.images.generate(model="painter", prompt="A cat")

    assert (images.data[0].b64_json, images.usage.output_tokens) == (PNG, 100)


async def test_the_sdk_reads_a_stream_of_images(courier, key, painter, upstream):
    upstream.will_answer(PARTIAL, completed(usage=USAGE))
    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{courier.port}/v1", api_key=key.secret)

    async with client:
        stream = await client.images.generate(model="painter", prompt="A cat", stream=True)
        events = [event async for event in stream]

    assert [event.type for event in events] == [
        "image_generation.partial_image", "image_generation.completed",
    ]  # fmt: skip
