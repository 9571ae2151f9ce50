import base64
import struct

import pytest

from gateway.canonical import Embedded, EmbeddingsRequest, Started, UsageReported
from gateway.dialects.base import Drops
from gateway.dialects.openai_embeddings import openai_embeddings, texts_of
from gateway.errors import BadRequest
from lib.tokens import TokenUsage
from tests.gateway.targets import make_target


@pytest.mark.parametrize(
    ("given", "text"), [("one two", "one two"), (["one", "two"], "one\ntwo"), ([1, 2], "")]
)
def test_the_words_of_the_input_are_found(given, text):
    assert openai_embeddings.input_text({"input": given}) == text


@pytest.mark.parametrize(
    ("given", "tokens"),
    [("x" * 40, 11), (["x" * 20, "x" * 20], 11), ([1, 2, 3], 4), ([[1, 2], [3]], 4)],
)
def test_tokens_counted_by_the_client_are_taken_as_they_are(given, tokens):
    assert openai_embeddings.input_estimate({"input": given}) == tokens


def test_usage_has_input_only():
    body = {"usage": {"prompt_tokens": 7, "total_tokens": 7}}

    assert openai_embeddings.usage_in(body) == TokenUsage(input_tokens=7)


def test_only_the_models_name_changes():
    raw = b'{"input": ["a"],  "model":"small", "dimensions": 3}'
    body = {"input": ["a"], "model": "small", "dimensions": 3}

    sent = openai_embeddings.readdress(raw, body, "large")

    assert sent == b'{"input": ["a"],  "model":"large", "dimensions": 3}'


@pytest.mark.parametrize(
    ("body", "is_answer"),
    [({"data": []}, True), ({"data": {}}, False), ([], False), ({"choices": []}, False)],
)
def test_an_answer_has_a_list_of_data(body, is_answer):
    assert openai_embeddings.is_answer(body) is is_answer


def test_embeddings_have_no_output_to_count():
    assert openai_embeddings.output_bound({"max_tokens": 5}) == 0
    assert openai_embeddings.text_in({"data": []}) == ""


def test_embeddings_are_never_streamed():
    with pytest.raises(TypeError):
        openai_embeddings.watch({})


def test_a_request_is_read_into_the_hub():
    body = {"model": "m", "input": "a", "dimensions": 3, "input_type": "query", "user": "u"}

    assert openai_embeddings.read_request({**body, "encoding_format": "base64"}) == (
        EmbeddingsRequest(["a"], dimensions=3, purpose="query", unknown=["user"])
    )


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2]], [[1], [2]]),
        ([], []),
    ],
)
def test_every_form_of_input_is_a_list_in_the_hub(given, inputs):
    assert openai_embeddings.read_request({"model": "m", "input": given}).inputs == inputs


def test_a_request_is_written_from_the_hub():
    drops = Drops(refuses=False)
    request = EmbeddingsRequest(["a", [1]], dimensions=3, purpose="query")

    body = openai_embeddings.write_request(request, make_target(), drops)

    assert body == {"model": "model-1", "input": ["a", [1]], "dimensions": 3}
    assert drops.names == ["input_type"]


def test_vectors_are_read_in_their_order_from_either_encoding():
    packed = base64.b64encode(struct.pack("<2f", 0.5, -1)).decode()
    body = {
        "model": "m",
        "data": [{"index": 1, "embedding": packed}, {"index": 0, "embedding": [0.25, 2]}],
        "usage": {"prompt_tokens": 4},
    }

    assert openai_embeddings.read_response(body) == [
        Started("", "m"),
        Embedded([[0.25, 2], [0.5, -1]]),
        UsageReported(TokenUsage(input_tokens=4)),
    ]


@pytest.mark.parametrize("vector", ["AAA", "AAAAAAA=", None, 5])
def test_a_vector_that_cannot_be_read_is_malformed(vector):
    with pytest.raises(ValueError, match="vector"):
        openai_embeddings.read_response({"data": [{"embedding": vector}]})


def test_an_answer_is_written_from_the_hub():
    events = [Started("", "m"), Embedded([[0.5]]), UsageReported(TokenUsage(input_tokens=4))]

    assert openai_embeddings.write_response(events, {"model": "small", "input": "a"}) == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "model": "m",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }


def test_an_answer_is_written_in_base64_where_that_is_asked_for():
    request = {"model": "m", "input": "a", "encoding_format": "base64"}

    (item,) = openai_embeddings.write_response([Embedded([[0.5]])], request)["data"]

    assert item["embedding"] == base64.b64encode(struct.pack("<f", 0.5)).decode()


def test_an_answer_without_usage_is_counted():
    answer = openai_embeddings.write_response([Embedded([[1]])], {"model": "m", "input": [1, 2, 3]})

    assert answer["usage"]["prompt_tokens"] == 3


def test_tokens_become_text_for_those_who_take_no_tokens():
    assert texts_of(EmbeddingsRequest(["a", [9906, 1917]])) == ["a", "Hello world"]


@pytest.mark.parametrize("tokens", [[-1], [10**7], [10**30]])
def test_what_is_no_token_is_refused(tokens):
    with pytest.raises(BadRequest, match="texts only"):
        texts_of(EmbeddingsRequest([tokens]))


@pytest.mark.parametrize("data", [["x"], [None], [[1.0]], {"0": 1}])
def test_parts_that_hold_no_vectors_are_malformed(data):
    with pytest.raises(ValueError, match="has no vector"):
        openai_embeddings.joined({"input": ["a"]}, [(0, {"data": data})])
