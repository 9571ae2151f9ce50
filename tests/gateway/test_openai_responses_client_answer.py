"""Responses, written from what another format says."""

import json

import orjson
import pytest

from gateway.canonical import (
    Annotated,
    Finished,
    LogProbs,
    Media,
    MediaMade,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.dialects.openai_responses import openai_responses
from gateway.errors import StreamInterrupted, UpstreamRateLimited
from lib.tokens import TokenUsage
from tests.gateway.validators import openai_responses as validator

STARTED = Started("chatcmpl-1", "their-model")
USAGE = UsageReported(TokenUsage(9, cached_input_tokens=4, output_tokens=5, reasoning_tokens=2))
ASKED = {"model": "tiny", "input": "Hi"}
PATCH = {"type": "custom", "name": "patch"}


def told(*events, reason="stop", **request):
    """The events of a stream that answers a request, parsed, once it is known to be well formed."""
    stream = written(*events, Finished(reason), **request)
    validator.check(stream)
    return [json.loads(frame.partition(b"data: ")[2]) for frame in stream.split(b"\n\n")[:-1]]


def written(*events, **request):
    writer = openai_responses.stream_writer({**ASKED, **request})
    return b"".join(map(writer.write, events)) + writer.close()


def whole(*events, **request):
    body = openai_responses.write_response(list(events), {**ASKED, **request})
    body = orjson.loads(orjson.dumps(body))
    validator.check_whole(body)
    return body


def kinds(events):
    return [event["type"].removeprefix("response.") for event in events]


def test_a_text_comes_as_openai_sends_it():
    events = told(STARTED, TextDelta("Hel"), TextDelta("lo."), USAGE)

    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[-1]["response"]["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 14,
    }


def test_each_piece_is_told_at_once():
    writer = openai_responses.stream_writer(ASKED)

    assert b"response.in_progress" in writer.write(STARTED)
    assert b'"delta":"Hel"' in writer.write(TextDelta("Hel"))
    assert writer.write(TextDelta("lo")).count(b"event:") == 1


def test_an_answer_of_nothing_is_a_response_too():
    assert kinds(told()) == ["created", "in_progress", "completed"]
    assert whole()["output"] == []


def test_thoughts_are_a_summary_with_what_seals_them():
    events = told(
        STARTED, ThinkingDelta("Hm"), ThinkingDelta("."), ThinkingSigned("s"), TextDelta("Hi")
    )

    assert kinds(events)[2:9] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    item = events[8]["item"]
    assert item["summary"] == [{"type": "summary_text", "text": "Hm."}]
    assert item["encrypted_content"] == "courier.anthropic.s"


def test_thoughts_come_back_from_a_client_as_they_were_sent():
    output = whole(
        ThinkingDelta("One.\n\nTwo."),
        ThinkingSigned("s1"),
        ThinkingRedacted("sealed"),
        ThinkingSigned("s2"),
        ToolCallStarted(0, "c1", "look", signature="s3"),
        ToolCallDelta(0, "{}"),
    )["output"]

    (turn,) = openai_responses.read_request({**ASKED, "input": output}).messages

    thoughts, (call,) = turn.parts[:3], turn.parts[3:]
    assert [(each.text, each.signature, each.redacted) for each in thoughts] == [
        ("One.\n\nTwo.", "s1", ""),
        ("", "", "sealed"),
        ("", "s2", ""),
    ]
    assert (call.id, call.signature) == ("c1", "s3")


def test_calls_end_one_after_the_other():
    events = told(
        STARTED,
        TextDelta("I look."),
        ToolCallStarted(0, "c1", "look"),
        ToolCallDelta(0, '{"a":'),
        ToolCallDelta(0, "1}"),
        ToolCallStarted(1, "c2", "look"),
        ToolCallDelta(1, "{}"),
        reason="tool_calls",
    )

    steps = [
        (event["output_index"], event["type"].rpartition(".")[2])
        for event in events
        if "output_item" in event["type"]
    ]
    assert steps == [(place, step) for place in range(3) for step in ("added", "done")]


def test_calls_whose_arguments_come_by_turns_lose_nothing():
    events = told(
        STARTED,
        ToolCallStarted(0, "c1", "look"),
        ToolCallDelta(0, '{"a":'),
        ToolCallStarted(1, "c2", "look"),
        ToolCallDelta(1, '{"b":'),
        ToolCallDelta(0, "1}"),
        ToolCallDelta(1, "2}"),
        reason="tool_calls",
    )

    calls = events[-1]["response"]["output"]
    assert [call["arguments"] for call in calls] == ['{"a":1}', '{"b":2}']


def test_a_text_after_a_call_is_another_message():
    events = (
        TextDelta("One."),
        ToolCallStarted(0, "c1", "look"),
        ToolCallDelta(0, "{}"),
        TextDelta("Two."),
    )

    output = told(STARTED, *events)[-1]["response"]["output"]

    assert [item["type"] for item in output] == ["message", "function_call", "message"]


def test_a_call_of_a_tool_with_free_input_is_one_of_its_own_kind():
    events = told(
        STARTED,
        ToolCallStarted(0, "c1", "patch"),
        ToolCallDelta(0, '{"input":"a \\"b'),
        ToolCallDelta(0, '\\"\\n"}'),
        reason="tool_calls",
        tools=[PATCH],
    )

    (call,) = events[-1]["response"]["output"]
    assert (call["type"], call["call_id"], call["name"]) == ("custom_tool_call", "c1", "patch")
    assert call["input"] == 'a "b"\n'
    assert "custom_tool_call_input.delta" in kinds(events)
    assert "function_call_arguments.delta" not in kinds(events)


@pytest.mark.parametrize("arguments", ["*** Begin", '{"patch":"x"}', '["x"]', ""])
def test_free_input_that_the_model_did_not_wrap_is_taken_as_it_is(arguments):
    call = ToolCallStarted(0, "c1", "patch")

    (item,) = whole(call, ToolCallDelta(0, arguments), tools=[PATCH])["output"]

    assert item["input"] == arguments


def test_a_refusal_is_a_part_of_its_own():
    events = told(STARTED, TextDelta("Well."), RefusalDelta("I can"), RefusalDelta("not."))

    (message,) = events[-1]["response"]["output"]
    assert [part["type"] for part in message["content"]] == ["output_text", "refusal"]
    assert message["content"][1]["refusal"] == "I cannot."


@pytest.mark.parametrize(
    "annotation",
    [
        {"type": "url_citation", "url_citation": {"url": "https://x.test", "title": "X"}},
        {
            "type": "url_citation",
            "url": "https://x.test",
            "title": "X",
            "start_index": 0,
            "end_index": 0,
        },
    ],
)
def test_a_source_is_told_whichever_of_openais_shapes_it_has(annotation):
    events = told(STARTED, TextDelta("So."), Annotated(annotation))

    added = next(e for e in events if e["type"] == "response.output_text.annotation.added")
    assert added["annotation"] == {
        "type": "url_citation",
        "url": "https://x.test",
        "title": "X",
        "start_index": 0,
        "end_index": 0,
    }


def test_probabilities_stand_with_the_whole_text():
    token = {"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}

    events = told(STARTED, TextDelta("Hi"), LogProbs([token]))

    (message,) = events[-1]["response"]["output"]
    figures = {"token": "Hi", "bytes": [], "logprob": -0.5}
    assert message["content"][0]["logprobs"] == [{**figures, "top_logprobs": [figures]}]


def test_an_image_is_an_item():
    events = told(STARTED, MediaMade(Media("image", "image/png", "QQ==")))

    (image,) = events[-1]["response"]["output"]
    assert (image["type"], image["result"]) == ("image_generation_call", "QQ==")


def test_a_second_answer_is_not_told():
    assert b"Second" not in written(STARTED, TextDelta("First"), TextDelta("Second", choice=1))


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        (
            "budget_exceeded",
            "incomplete",
            {"reason": "max_output_tokens", "cause": "budget_exceeded"},
        ),
    ],
)
def test_a_reason_to_stop_is_told(reason, status, details):
    response = told(STARTED, TextDelta("Hi"), reason=reason)[-1]["response"]

    assert (response["status"], response["incomplete_details"]) == (status, details)
    assert response["output"][0]["status"] == status
    assert whole(TextDelta("Hi"), Finished(reason))["status"] == status


def test_a_response_repeats_what_it_answers():
    asked = {
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "temperature": 0.0,
        "tools": [{"type": "function", "name": "look", "parameters": {}, "strict": True}],
        "tool_choice": {"type": "function", "name": "look"},
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "reasoning": {"effort": "low", "summary": "auto"},
    }

    response = whole(STARTED, **asked)

    assert {name: response[name] for name in asked} == asked
    assert (response["model"], response["store"]) == ("their-model", False)
    assert (response["top_p"], response["truncation"]) == (1.0, "disabled")
    assert response["id"].startswith("resp_")


def test_no_two_responses_have_one_id():
    assert whole()["id"] != whole()["id"]


@pytest.mark.parametrize(
    ("error", "code", "type_code"),
    [
        (StreamInterrupted("It broke off."), "stream_interrupted", "server_error"),
        (UpstreamRateLimited("Slow down."), "upstream_rate_limited", "rate_limit_exceeded"),
    ],
)
def test_a_failure_is_told_to_sdks_and_to_agents(error, code, type_code):
    writer = openai_responses.stream_writer(ASKED)
    stream = writer.write(STARTED) + writer.write(TextDelta("Hi"))

    stream += writer.error_frame(error, "an-id")

    assert not validator.check(stream).complete
    first, second = [
        json.loads(frame.partition(b"data: ")[2]) for frame in stream.split(b"\n\n")[-3:-1]
    ]
    assert (first["type"], first["code"], first["error"]["code"]) == ("error", code, code)
    assert "an-id" in first["message"]
    assert (second["type"], second["response"]["error"]["code"]) == ("response.failed", type_code)


def test_a_failure_before_anything_is_told_is_well_formed():
    told = openai_responses.error_frame(UpstreamRateLimited("Slow down."), "an-id")

    assert not validator.check(told).complete
