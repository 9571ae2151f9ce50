import pytest

from gateway import metering
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.dialects.openai_images import openai_images
from gateway.metering import UsageSource
from gateway.question import Question
from lib.tokens import TokenUsage


def question(text="Say hello."):
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}]}
    return Question(openai_chat, "tiny", b"", body)


def test_the_providers_figures_are_taken_as_they_are():
    reported = TokenUsage(input_tokens=9, output_tokens=0)

    metered = metering.metered(question(), reported, "", "gpt-4o")

    assert (metered.usage, metered.source) == (reported, UsageSource.PROVIDER)


def test_what_is_not_reported_is_counted_and_marked():
    asked = question("hello world")

    metered = metering.metered(asked, None, "one two three", "gpt-4o")

    # The words, and what stands around a message and before the answer.
    assert metered.usage == TokenUsage(input_tokens=2 + 4 + 3, output_tokens=3)
    assert metered.source is UsageSource.ESTIMATED


def test_images_are_counted_with_the_words():
    asked = question([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}])

    assert metering.metered(asked, None, "", "gpt-4o").usage.input_tokens == 765 + 4 + 3


def test_what_courier_cannot_read_is_counted_by_its_words():
    asked = question([{"type": "text", "text": "hello world"}, {"type": "of tomorrow"}])

    assert metering.metered(asked, None, "", "gpt-4o").usage.input_tokens >= 2


@pytest.mark.parametrize(
    ("sources", "together"),
    [
        ([], "none"),
        (["none", "none"], "none"),
        (["none", "provider"], "provider"),
        (["estimated", "provider"], "estimated"),
    ],
)
def test_several_calls_are_an_estimate_as_soon_as_one_is(sources, together):
    used = TokenUsage(input_tokens=2, images=1)
    parts = [metering.Metered(used, UsageSource(source)) for source in sources]

    metered = metering.together(parts)

    assert metered.source == together
    assert metered.usage == TokenUsage(input_tokens=2 * len(parts), images=len(parts))


def test_a_question_shows_no_prompt():
    assert "secret plan" not in repr(question("the secret plan"))


def test_output_that_came_after_the_providers_figures_is_counted():
    reported = TokenUsage(input_tokens=900, cached_input_tokens=800, output_tokens=1)

    metered = metering.metered(question(), reported, "one two three", "gpt-4o")

    assert metered.usage == TokenUsage(input_tokens=900, cached_input_tokens=800, output_tokens=3)
    assert metered.source is UsageSource.ESTIMATED


def test_a_count_that_is_less_than_the_providers_is_none():
    reported = TokenUsage(input_tokens=9, output_tokens=50)

    assert metering.metered(question(), reported, "one", "gpt-4o").usage == reported


def test_vectors_of_nothing_are_not_believed():
    asked = Question(openai_embeddings, "tiny", b"", {"model": "tiny", "input": "hello world"})

    metered = metering.metered(asked, TokenUsage(), "", "gpt-4o")

    assert metered.usage == TokenUsage(input_tokens=2)
    assert metered.source is UsageSource.ESTIMATED


def test_images_are_priced_without_a_token():
    asked = Question(openai_images, "tiny", b"", {"model": "tiny", "prompt": "A tree."})
    reported = TokenUsage(images=1)

    metered = metering.metered(asked, reported, "", "gpt-4o")

    assert (metered.usage, metered.source) == (reported, UsageSource.PROVIDER)


@pytest.mark.parametrize(
    ("usage", "lacks"),
    [
        (None, True),
        (TokenUsage(input_tokens=9), True),
        (TokenUsage(input_tokens=9, output_tokens=1), False),
    ],
)
def test_words_are_counted_where_their_number_is_not_told(usage, lacks):
    assert metering.lacks_output(question(), usage) is lacks


def test_where_no_words_are_charged_none_are_counted():
    asked = Question(openai_embeddings, "tiny", b"", {"model": "tiny", "input": "hello world"})

    assert metering.lacks_output(asked, TokenUsage(input_tokens=2)) is False
