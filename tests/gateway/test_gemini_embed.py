"""Embeddings in Google's format, by themselves and end to end."""

import json

import pytest

from gateway.canonical import Embedded, EmbeddingsRequest, UsageReported
from gateway.dialects.base import Drops
from gateway.dialects.gemini_embed import gemini_embed, gemini_embed_one
from gateway.errors import BadRequest
from lib.tokens import TokenUsage
from tests import factories
from tests.gateway.targets import make_target

CAT = {"content": {"parts": [{"text": "a cat"}]}}
DOG = {"content": {"parts": [{"text": "a dog"}]}}
VECTORS = json.dumps({"embeddings": [{"values": [0.25]}, {"values": [0.5]}]}).encode()


def write(drops=None, **fields):
    request = EmbeddingsRequest(**{"inputs": ["a cat", "a dog"], **fields})
    target = make_target(upstream_model="e-1")
    return gemini_embed.write_request(request, target, drops or Drops(refuses=False))["requests"]


def test_each_text_is_a_request_that_names_the_model():
    assert write(dimensions=3, purpose="query") == [
        {"model": "models/e-1", "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 3, **each}
        for each in (CAT, DOG)
    ]


@pytest.mark.parametrize("purpose", ["document", "search_document", "passage"])
def test_purposes_are_known_by_the_names_that_others_give_them(purpose):
    assert write(purpose=purpose)[0]["taskType"] == "RETRIEVAL_DOCUMENT"


def test_a_purpose_that_google_does_not_know_is_noted():
    drops = Drops(refuses=False)

    assert "taskType" not in write(drops, purpose="image")[0]
    assert drops.names == ["input_type"]


def test_lists_of_tokens_are_refused():
    with pytest.raises(BadRequest):
        write(inputs=[[1, 2]])


def test_a_batch_is_read():
    options = {"taskType": "RETRIEVAL_QUERY", "output_dimensionality": 3, "title": "T"}
    request = gemini_embed.read_request({"requests": [{**CAT, **options}, {**DOG, **options}]})

    assert request == EmbeddingsRequest(["a cat", "a dog"], 3, "query", ["title", "title"])


def test_requests_that_want_different_things_are_noted():
    mixed = [{**CAT, "taskType": "CLUSTERING"}, DOG]

    assert gemini_embed.read_request({"requests": mixed}).unknown == ["taskType"]


def test_one_vector_is_answered_as_one():
    events = [Embedded([[0.25]]), UsageReported(TokenUsage(3))]

    assert gemini_embed_one.write_response(events, CAT) == {
        "embedding": {"values": [0.25]},
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 0, "totalTokenCount": 3},
    }


@pytest.mark.parametrize("answer", [{"embeddings": [{}]}, {"embeddings": [{"values": "x"}]}])
def test_a_vector_without_values_is_malformed(answer):
    with pytest.raises(ValueError):
        gemini_embed.read_response(answer)


def test_parts_are_joined_in_their_order():
    body = {"requests": [CAT, DOG]}
    parts = [gemini_embed.part(body, 0, 1), gemini_embed.part(body, 1, 2)]
    answers = [(0, {"embeddings": [{"values": [1]}]}), (1, {"embeddings": [{"values": [2]}]})]

    assert [part["requests"] for part in parts] == [[CAT], [DOG]]
    joined = gemini_embed.joined(body, answers)
    assert joined == {"embeddings": [{"values": [1]}, {"values": [2]}]}


@pytest.mark.parametrize("count", [0, 2])
def test_an_input_without_its_one_vector_is_malformed(count):
    with pytest.raises(ValueError):
        gemini_embed.joined({"requests": [CAT]}, [(0, {"embeddings": [{}] * count})])


# End to end


@pytest.fixture
def embedder(transactional_db, upstream):
    google = factories.make_provider("google", kind="gemini", base_url=upstream.url)
    factories.make_upstream_key(google)
    model = factories.make_model("embedder")
    factories.make_route(model, google, upstream_model="e-1")
    factories.make_price(model, input="0.15", output="0")
    return model


@pytest.fixture
def embed(embedder, courier, key):
    async def ask(method, body, model="embedder"):
        headers = {"x-goog-api-key": key.secret}
        return await courier.post(f"/v1beta/models/{model}:{method}", body, headers=headers)

    return ask


async def test_a_batch_passes_with_the_routes_model(embed, upstream, courier):
    upstream.will_answer(VECTORS)

    reply = await embed("batchEmbedContents", {"requests": [{"model": "models/x", **CAT}, DOG]})

    assert (reply.status, reply.content) == (200, VECTORS)
    sent = upstream.requests[0]
    assert sent.path == "/v1/models/e-1:batchEmbedContents"
    assert [each["model"] for each in sent["requests"]] == ["models/e-1"] * 2
    record = await courier.record(reply.request_id)
    assert (record.operation, record.usage_source) == ("embeddings", "estimated")
    assert record.input_tokens >= 4


async def test_a_single_text_passes_too(embed, upstream):
    upstream.will_answer(b'{"embedding": {"values": [0.5]}}')

    reply = await embed("embedContent", {"model": "models/x", **CAT})

    assert reply.json == {"embedding": {"values": [0.5]}}
    assert upstream.requests[0].path == "/v1/models/e-1:embedContent"
    assert upstream.requests[0]["model"] == "models/e-1"


async def test_an_upstream_of_another_format_is_asked_in_its_own(embed, upstream):
    reply = await embed("embedContent", CAT, model="tiny")

    assert upstream.requests[0].path == "/v1/embeddings"
    assert upstream.requests[0]["input"] == ["a cat"]
    assert reply.json["embedding"] == {"values": [0.25, -0.5, 1.0]}


async def test_a_client_of_another_format_is_answered_in_its_own(embed, courier, key, upstream):
    upstream.will_answer(VECTORS)
    body = {"model": "embedder", "input": ["a cat", "a dog"], "dimensions": 1}

    reply = await courier.post("/v1/embeddings", body, key=key)

    assert [each["outputDimensionality"] for each in upstream.requests[0]["requests"]] == [1, 1]
    assert [each["embedding"] for each in reply.json["data"]] == [[0.25], [0.5]]


@pytest.mark.parametrize("body", [{"requests": []}, {"requests": [{}]}, {}])
async def test_a_batch_without_texts_is_refused(embed, upstream, body):
    reply = await embed("batchEmbedContents", body)

    assert (reply.status, reply.error["status"]) == (400, "INVALID_ARGUMENT")
    assert not upstream.requests
