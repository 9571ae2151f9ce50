from gateway import counting, metering
from gateway.dialects.openai_chat import openai_chat
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

    given = counting.count(openai_chat.read_request(asked.body), "gpt-4o")
    assert metered.usage == TokenUsage(input_tokens=given, output_tokens=3)
    assert metered.source is UsageSource.ESTIMATED


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
