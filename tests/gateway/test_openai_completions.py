"""The format of completions by itself."""

import pytest

from gateway.canonical import (
    ChatRequest,
    Finished,
    LogProbs,
    Message,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.dialects.openai_completions import openai_completions
from gateway.errors import BadRequest
from lib.tokens import TokenUsage
from tests.fakes.upstream import frame
from tests.gateway.validators import openai_completions as validator

STARTED = Started("msg_1", "vendor-model")
ASKING = {"prompt": "Say:", "model": "tiny", "stream_options": {"include_usage": True}}
USAGE = UsageReported(TokenUsage(5, output_tokens=2))
TOKENS = [
    {"token": "Hel", "logprob": -0.1, "top_logprobs": [{"token": "He", "logprob": -2.0}]},
    {"token": "lo", "logprob": -0.2, "top_logprobs": []},
]


def told(*events, request=ASKING):
    writer = openai_completions.stream_writer(request)
    return b"".join([*map(writer.write, events), writer.close()])


def choice_of(*events, request=ASKING):
    return openai_completions.write_response(events, request)["choices"][0]


def asked(**body):
    return openai_completions.read_request({"model": "tiny", "prompt": "Hi", **body})


def test_a_prompt_is_what_the_user_says():
    request = asked(max_tokens=5, stop=["x"], n=2, seed=3, user="u", logprobs=2)

    assert request == ChatRequest(
        [Message("user", [Text("Hi")])], max_tokens=5, stop=["x"], n=2, seed=3, user="u",
        logprobs=True, top_logprobs=2,
    )  # fmt: skip


def test_no_logprobs_are_asked_for_by_null():
    assert not asked(logprobs=None).logprobs


@pytest.mark.parametrize(
    ("body", "unknown"),
    [
        ({"suffix": "x"}, ["suffix"]),
        ({"best_of": 2}, ["best_of"]),
        ({"best_of": 2, "n": 2}, []),
        ({"suffix": None, "echo": True}, []),
    ],
)
def test_what_has_no_place_is_named(body, unknown):
    assert asked(**body).unknown == unknown


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1]]])
def test_what_cannot_be_said_is_refused(prompt):
    with pytest.raises(BadRequest):
        asked(prompt=prompt)


def test_a_stream_has_words_reason_usage_and_marker():
    answer = validator.check(told(STARTED, TextDelta("Hello"), Finished("length"), USAGE))

    assert (answer.text, answer.finish) == ("Hello", "length")
    assert answer.usage == {"input_tokens": 5, "output_tokens": 2}


def test_a_refusal_is_words_too():
    answer = validator.check(told(STARTED, RefusalDelta("No."), Finished("stop")))

    assert answer.text == "No."


def test_calls_have_no_place_and_end_as_a_stop():
    events = (STARTED, ToolCallStarted(0, "c", "f"), Finished("tool_calls"))

    assert validator.check(told(*events)).finish == "stop"
    assert choice_of(*events)["finish_reason"] == "stop"


def test_the_prompt_is_said_again_where_it_is_to_be():
    request = {**ASKING, "echo": True}
    events = (STARTED, TextDelta(" hello"), Finished("stop"))

    assert validator.check(told(*events, request=request)).text == "Say: hello"
    assert choice_of(*events, request=request)["text"] == "Say: hello"


def test_logprobs_are_four_lists():
    request = {**ASKING, "echo": True}
    choice = choice_of(STARTED, TextDelta("Hello"), LogProbs(TOKENS), request=request)

    assert choice["logprobs"] == {
        "tokens": ["Hel", "lo"],
        "token_logprobs": [-0.1, -0.2],
        "top_logprobs": [{"He": -2.0}, {}],
        "text_offset": [4, 7],
    }


def test_logprobs_of_a_stream_go_on_where_they_were():
    events = [
        STARTED,
        TextDelta("Hel"),
        LogProbs(TOKENS[:1]),
        TextDelta("lo"),
        LogProbs(TOKENS[1:]),
    ]
    sent = told(*events, Finished("stop"))

    assert b'"text_offset":[0]' in sent
    assert b'"text_offset":[3]' in sent
    assert validator.check(sent).complete


def test_several_answers_are_choices():
    events = [TextDelta("b", 1), TextDelta("a"), Finished("stop"), Finished("length", choice=1)]

    body = openai_completions.write_response([STARTED, *events], ASKING)
    assert [choice["text"] for choice in body["choices"]] == ["a", "b"]
    assert validator.check(told(STARTED, *events)).text == "a"


@pytest.mark.parametrize("choice", [128, 10**9])
def test_choices_without_end_are_left_out(choice):
    sent = told(STARTED, TextDelta("x", choice), Finished("stop", choice=choice))

    assert validator.check(sent).text == ""


@pytest.mark.parametrize(
    ("body", "answers"),
    [
        ({"prompt": "x"}, 1),
        ({"prompt": ["x", "y"]}, 2),
        ({"prompt": [1, 2]}, 1),
        ({"prompt": [[1], [2]], "n": 3}, 6),
        ({"prompt": "x", "best_of": 4}, 4),
    ],
)
def test_every_prompt_and_choice_is_an_answer(body, answers):
    assert openai_completions.answers_asked(body) == answers
    assert openai_completions.output_bound({**body, "max_tokens": 10}) == 10 * answers


@pytest.mark.parametrize(
    ("prompt", "tokens"), [("x" * 40, 11), (["x" * 20] * 2, 11), ([1, 2, 3], 4), ([[1, 2], [3]], 4)]
)
def test_the_input_is_estimated_in_words_and_tokens(prompt, tokens):
    assert openai_completions.input_estimate({"prompt": prompt}) == tokens


def test_words_of_a_stream_that_passes_are_kept_for_counting():
    watch = openai_completions.watch({"prompt": "x"})
    watch.see(frame({"choices": [{"text": "Once ", "index": 0, "finish_reason": None}]}))
    watch.see(frame({"choices": [{"text": "upon", "index": 0, "finish_reason": None}]}))

    assert (watch.seen_text(), watch.has_output) == ("Once upon", True)


def test_a_stream_that_passes_can_be_ended_early():
    watch = openai_completions.watch({**ASKING, "n": 2})
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m"}
    choices = [
        {"text": "Hi", "index": index, "logprobs": None, "finish_reason": None}
        for index in range(2)
    ]
    seen = watch.see(frame({**head, "choices": choices, "usage": None}))

    answer = validator.check(seen + watch.ending("budget_exceeded", TokenUsage(5, output_tokens=2)))
    assert (answer.finish, answer.usage["input_tokens"]) == ("budget_exceeded", 5)


def test_the_words_of_a_whole_answer_are_found():
    assert openai_completions.text_in({"choices": [{"text": "a"}, {"text": 5}, None]}) == "a"
