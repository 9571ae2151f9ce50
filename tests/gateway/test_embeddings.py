"""Embeddings, end to end."""

import base64
import json
import struct

import pytest

from tests import factories
from tests.fakes.upstream import error_body


@pytest.fixture
def embed(courier, key):
    async def ask(**body):
        return await courier.post(
            "/v1/embeddings", {"model": "tiny", "input": "Hi", **body}, key=key
        )

    return ask


async def test_embeddings_are_passed_through(embed, upstream):
    reply = await embed(dimensions=3)

    assert (reply.status, reply.json["data"][0]["embedding"]) == (200, [0.25, -0.5, 1.0])
    sent = upstream.requests[0]
    assert (sent.path, sent["model"], sent["dimensions"]) == ("/v1/embeddings", "alpha-tiny", 3)


async def test_embeddings_are_recorded_with_input_only(embed, courier):
    record = await courier.record((await embed()).request_id)

    assert (record.operation, record.streamed) == ("embeddings", False)
    assert (record.input_tokens, record.output_tokens) == (3, 0)
    assert (record.usage_source, record.cost_nano) == ("provider", 450)


async def test_missing_usage_is_counted(embed, courier, upstream):
    upstream.will_answer(b'{"object": "list", "data": []}')

    record = await courier.record((await embed(input=["one two", "three"])).request_id)

    assert (record.usage_source, record.input_tokens > 0) == ("estimated", True)


@pytest.mark.parametrize("given", ["Hi", ["Hi", "there"], [1, 2], [[1, 2], [3]]])
async def test_every_form_of_input_is_passed_on(embed, upstream, given):
    assert (await embed(input=given)).status == 200
    assert upstream.requests[0]["input"] == given


@pytest.mark.parametrize("given", [None, 5, {"a": 1}, [1.5], [None]])
async def test_other_input_is_refused(embed, upstream, given):
    reply = await embed(input=given)

    assert (reply.status, reply.error["param"].split(".")[0]) == (400, "input")
    assert upstream.requests == []


async def test_numbers_become_base64_where_the_client_wants_it(embed, upstream):
    vectors = [[0.25, -0.5], ["x"], [1e300], "AAAA"]
    data = [{"object": "embedding", "index": n, "embedding": v} for n, v in enumerate(vectors)]
    upstream.will_answer(json.dumps({"data": [*data, 5]}).encode())

    got = (await embed(encoding_format="base64")).json["data"]

    assert struct.unpack("<2f", base64.b64decode(got[0]["embedding"])) == (0.25, -0.5)
    assert got[1:] == [*data[1:], 5]


async def test_what_is_wrong_is_named_as_the_client_calls_it(embed):
    assert (await embed(input=7)).error["param"] == "input"


@pytest.mark.parametrize("asked", [{}, {"encoding_format": "float"}])
async def test_base64_becomes_numbers_where_the_client_wants_those(embed, upstream, asked):
    packed = base64.b64encode(struct.pack("<2f", 0.25, -0.5)).decode()
    data = [{"index": n, "embedding": given} for n, given in enumerate([packed, "AAA", [1]])]
    upstream.will_answer(json.dumps({"data": data}).encode())

    got = (await embed(**asked)).json["data"]

    assert [item["embedding"] for item in got] == [[0.25, -0.5], "AAA", [1]]


async def test_base64_from_the_provider_is_passed_on_byte_by_byte(embed, upstream):
    content = b'{"data" : [{"embedding":  "AACAPg=="}] }'
    upstream.will_answer(content)

    assert (await embed(encoding_format="base64")).content == content


async def test_another_route_is_tried(embed, upstream, courier):
    upstream.will_answer(error_body(), status=503)

    reply = await embed()

    assert (reply.status, reply.headers["x-courier-attempts"]) == (200, "2")


async def test_vectors_of_another_format_are_answered_as_if_of_ones_own(courier, key, upstream):
    def rows():
        root = upstream.url.removesuffix("/v1")
        provider = factories.make_provider("cohere", kind="cohere", base_url=root)
        factories.make_upstream_key(provider)
        factories.make_model("co", provider)

    await courier.make(rows)
    answer = {
        "id": "1",
        "embeddings": {"float": [[0.5], [0.25]]},
        "meta": {"billed_units": {"input_tokens": 4}},
    }
    upstream.will_answer(json.dumps(answer).encode())
    body = {"model": "co", "input": ["a", "b"], "input_type": "query", "user": "me"}

    reply = await courier.post("/v1/embeddings", body, key=key)

    assert upstream.requests[0].path == "/v2/embed"
    assert upstream.requests[0]["input_type"] == "search_query"
    assert reply.json == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5]},
            {"object": "embedding", "index": 1, "embedding": [0.25]},
        ],
        "model": "co",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    assert reply.headers["x-courier-dropped-params"] == "user"
