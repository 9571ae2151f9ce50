import pytest

from gateway.dialects.openai_embeddings import openai_embeddings
from lib.tokens import TokenUsage


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
