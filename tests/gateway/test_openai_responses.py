"""Responses that pass: what is seen of them on their way, and what they are held to cost."""

import json

import pytest

from gateway.dialects.openai_responses import openai_responses
from gateway.errors import StreamInterrupted
from lib.tokens import TokenUsage
from tests.gateway.validators import openai_responses as validator
from tests.gateway.wire_cases import WIRE

USED = TokenUsage(input_tokens=5, output_tokens=7)


def frames(name):
    content = (WIRE / "openai-responses" / f"{name}.sse").read_bytes()
    return [frame + b"\n\n" for frame in content.split(b"\n\n")[:-1]]


def watched(*run):
    watch = openai_responses.watch({})
    for frame in run:
        assert watch.see(frame) == frame
    return watch


def kind_of(frame):
    return json.loads(frame.partition(b"data: ")[2])["type"]


def before(name, kind, occurrence=1):
    """The frames of a case before the first, or a later, of this kind."""
    every = frames(name)
    places = [place for place, frame in enumerate(every) if kind_of(frame) == kind]
    return every[: places[occurrence - 1]]


# What is seen


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("openai-plain", "response.output_text.delta"),
        ("openai-refusal", "response.refusal.delta"),
        ("openai-reasoning-encrypted", "response.output_item.added"),
        ("openai-reasoning-hidden", "response.output_item.added"),
        ("openai-custom-tool", "response.output_item.added"),
        ("odd-arguments-only-in-done", "response.output_item.added"),
        ("openai-web-search", "response.output_item.added"),
        ("odd-no-numbers-no-names", "response.output_text.delta"),
    ],
)
def test_output_begins_with_what_is_the_models_own(name, first):
    run = before(name, first)

    assert not watched(*run).has_output
    assert watched(*run, frames(name)[len(run)]).has_output


def test_the_word_of_another_event_inside_a_text_is_no_event():
    told = json.dumps({"type": "response.output_text.delta", "delta": '"type":"response.failed"'})

    watch = watched(f"data: {told}\n\n".encode())

    assert watch.failure is None
    assert not watch.is_complete


def test_the_models_words_are_kept_for_counting():
    watch = watched(*before("openai-tools-parallel", "response.completed"))

    assert watch.seen_text().startswith('Let me look.{"city":"Paris","unit":"c"}')
    assert len(watch.seen_text()) // 4 <= watch.output_estimate() <= len(watch.seen_text()) // 2


def test_words_without_end_are_counted_by_their_length(monkeypatch):
    monkeypatch.setattr("gateway.dialects.seen_words.MOST_WORDS", 10)

    watch = watched(*before("openai-plain", "response.completed"))

    assert len(watch.seen_text()) > 10
    assert len(watch.seen_text().strip()) <= 10


@pytest.mark.parametrize(
    ("name", "status"),
    [("openai-failed", None), ("openai-error-nested", 429), ("openai-error-in-mid-stream", None)],
)
def test_a_failure_is_seen_with_the_status_that_its_code_means(name, status):
    failure = watched(*frames(name)).failure

    assert failure["message"]
    assert failure.get("status") == status


def test_an_error_without_a_type_is_a_failure_too():
    assert watched(b'data: {"error": {"message": "x", "code": 500}}\n\n').failure["code"] == 500


def test_a_malformed_event_is_not_taken_for_one():
    with pytest.raises(ValueError, match="unexpected end"):
        watched(b'data: {"type":"response.completed",\n\n')


# How a stream is ended for its provider


@pytest.mark.parametrize(
    ("name", "until", "occurrence"),
    [
        ("openai-plain", "response.output_text.delta", 3),
        ("openai-plain", "response.output_text.done", 1),
        ("openai-plain", "response.content_part.done", 1),
        ("openai-plain", "response.content_part.added", 1),
        ("openai-plain", "response.output_item.added", 1),
        ("openai-plain", "response.completed", 1),
        ("openai-tools-parallel", "response.function_call_arguments.delta", 4),
        ("openai-tools-parallel", "response.function_call_arguments.done", 1),
        ("openai-tools-parallel", "response.output_item.done", 2),
        ("openai-reasoning-encrypted", "response.reasoning_summary_text.delta", 2),
        ("openai-reasoning-encrypted", "response.reasoning_summary_part.added", 2),
        ("openai-reasoning-encrypted", "response.reasoning_summary_text.delta", 3),
        ("openai-reasoning-encrypted", "response.output_text.delta", 2),
        ("openai-refusal", "response.refusal.delta", 2),
        ("openai-custom-tool", "response.custom_tool_call_input.delta", 3),
        ("openai-custom-tool", "response.output_item.done", 1),
    ],
)
def test_a_stream_that_is_ended_early_is_well_formed(name, until, occurrence):
    run = before(name, until, occurrence)

    ending = watched(*run).ending("budget_exceeded", USED)

    answer = validator.check(b"".join(run) + ending)
    assert (answer.finish, answer.complete) == ("length", True)
    assert answer.usage == {"input_tokens": 5, "output_tokens": 7}


def test_an_item_of_the_providers_own_kind_is_ended_as_failed():
    run = before("openai-web-search", "response.web_search_call.in_progress")

    ending = watched(*run).ending("budget_exceeded", USED)

    done = json.loads(ending.partition(b"data: ")[2].partition(b"\n")[0])
    assert done["type"] == "response.output_item.done"
    assert (done["item"]["type"], done["item"]["status"]) == ("web_search_call", "failed")


def test_a_stream_that_is_ended_early_says_why():
    ending = watched(*before("openai-plain", "response.completed")).ending("budget_exceeded", USED)

    response = json.loads(ending.partition(b"data: ")[2])["response"]
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {
        "reason": "max_output_tokens",
        "cause": "budget_exceeded",
    }


def test_an_error_goes_on_with_the_numbers_and_the_response_of_the_stream():
    run = before("openai-plain", "response.output_text.delta", 3)
    error = StreamInterrupted("It broke off.")

    told = watched(*run, b": keep-alive\n\n").error_frame(error, "an-id")

    assert not validator.check(b"".join(run) + told).complete


# What a request is held to cost


@pytest.mark.parametrize(
    "body",
    [
        {"input": "word " * 100},
        {"input": "", "instructions": "word " * 100},
        {"input": [{"role": "user", "content": "word " * 100}]},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "word " * 100}]}]},
        {"input": [{"type": "function_call", "name": "x", "arguments": "word " * 100}]},
        {"input": [{"type": "custom_tool_call", "name": "x", "input": "word " * 100}]},
        {"input": [{"type": "function_call_output", "output": "word " * 100}]},
        {"input": [{"type": "reasoning", "summary": [{"text": "word " * 100}]}]},
        {"input": "", "tools": [{"type": "function", "description": "word " * 100}]},
        {"input": "", "text": {"format": {"schema": {"description": "word " * 100}}}},
    ],
)
def test_whatever_the_model_reads_counts(body):
    assert 125 <= openai_responses.input_estimate(body) <= 150
    assert "word word" in openai_responses.input_text(body)


@pytest.mark.parametrize("field", ["content", "output"])
def test_an_image_counts(field):
    image = {"type": "input_image", "image_url": "data:image/png;base64,QQ=="}

    assert openai_responses.input_estimate({"input": [{"role": "user", field: [image]}]}) > 500


@pytest.mark.parametrize(("body", "bound"), [({"max_output_tokens": 9}, 9), ({}, 0)])
def test_the_bound_is_the_requests(body, bound):
    assert openai_responses.output_bound(body) == bound


def test_the_words_of_a_whole_response_are_all_it_says():
    body = json.loads((WIRE / "openai-responses" / "openai-whole-reasoning-tools.json").read_text())

    text = openai_responses.text_in(body)

    assert "One." in text
    assert '{"city":"Paris"}' in text


def test_searches_are_counted_from_what_the_provider_says_of_them():
    usage = {"input_tokens": 1, "output_tokens": 1}
    body = {"output": [], "usage": usage, "tool_usage": {"web_search": {"num_requests": 3}}}

    assert openai_responses.usage_in(body).search_units == 3


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": None}])
def test_usage_that_says_nothing_is_none(usage):
    assert openai_responses.usage_in({"output": [], "usage": usage}) is None


def test_words_that_come_all_at_once_are_counted_too():
    watch = watched(*before("odd-arguments-only-in-done", "response.completed"))

    assert '{"city":"Paris"}' in watch.seen_text()
