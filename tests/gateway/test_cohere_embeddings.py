import pytest

from gateway.canonical import Embedded, EmbeddingsRequest, Started, UsageReported
from gateway.dialects.base import Drops
from gateway.dialects.cohere_embeddings import cohere_embeddings
from gateway.errors import BadRequest
from lib.tokens import TokenUsage
from tests.gateway.targets import make_target


def written(request):
    return cohere_embeddings.write_request(request, make_target(), Drops(refuses=True))


def test_a_request_is_written():
    assert written(EmbeddingsRequest(["a", "b"], dimensions=256)) == {
        "model": "model-1",
        "texts": ["a", "b"],
        "input_type": "search_document",
        "embedding_types": ["float"],
        "output_dimension": 256,
    }


@pytest.mark.parametrize(
    ("purpose", "told"),
    [
        ("", "search_document"),
        ("document", "search_document"),
        ("search_query", "search_query"),
        ("RETRIEVAL_QUERY", "search_query"),
        ("clustering", "clustering"),
        ("CLASSIFICATION", "classification"),
    ],
)
def test_the_purpose_is_told_in_cohere_s_words(purpose, told):
    assert written(EmbeddingsRequest(["a"], purpose=purpose))["input_type"] == told


def test_tokens_are_written_as_text():
    assert written(EmbeddingsRequest([[9906, 1917]]))["texts"] == ["Hello world"]


def test_what_is_no_token_is_refused():
    with pytest.raises(BadRequest):
        written(EmbeddingsRequest([[10**9]]))


def test_an_answer_is_read():
    body = {
        "id": "1",
        "embeddings": {"float": [[0.5, 1.0]]},
        "meta": {"billed_units": {"input_tokens": 3}},
    }

    assert cohere_embeddings.is_answer(body)
    assert cohere_embeddings.read_response(body) == [
        Started("1", ""),
        Embedded([[0.5, 1.0]]),
        UsageReported(TokenUsage(input_tokens=3)),
    ]


@pytest.mark.parametrize("body", [[], {}, {"embeddings": [[1]]}, {"embeddings": {"int8": [[1]]}}])
def test_what_has_no_vectors_is_no_answer(body):
    assert not cohere_embeddings.is_answer(body)
