"""Answers written for clients of chat completions, read by OpenAI's own SDK among others."""

import json

import httpx
import openai
import pytest

from gateway import errors, sse
from gateway.canonical import (
    Annotated,
    Ended,
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
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.signatures import named
from lib.tokens import TokenUsage
from tests.gateway.test_pairs import CASES, written
from tests.gateway.validators import openai_chat as validator

#: As clients of this format keep them: with their maker's name.
SIGNATURE, HIDDEN = map(named, ("c2ln", "ZGF0YQ=="))

STARTED = Started("msg_1", "vendor-model")
USAGE = UsageReported(TokenUsage(10, 4, 3, 5, 2, 1))
CALLS = [
    ToolCallStarted(0, "call_1", "f"),
    ToolCallDelta(0, '{"a":'),
    ToolCallStarted(1, "call_2", "g", signature="c2ln"),
    ToolCallDelta(0, "1}"),
    ToolCallDelta(1, "{}"),
]
THOUGHTS = [
    ThinkingDelta("Let me "),
    ThinkingDelta("see."),
    ThinkingSigned("c2ln"),
    ThinkingRedacted("ZGF0YQ=="),
]
ASKING = {"model": "tiny", "stream": True, "stream_options": {"include_usage": True}}


def stream_of(*events, request=ASKING):
    writer = openai_chat.stream_writer(request)
    return b"".join([*map(writer.write, events), writer.close()])


def chunks_of(*events, request=ASKING):
    data = [sse.data_of(frame) for frame in sse.split(stream_of(*events, request=request))]
    assert data.pop() == b"[DONE]"
    return [json.loads(each) for each in data]


def deltas_of(*events, request=ASKING):
    """What the deltas of the first choice say, without the opening and the end."""
    chunks = chunks_of(*events, request=request)
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    return [choice["delta"] for choice in choices[1:-1]]


def message_of(*events, request=ASKING):
    return openai_chat.write_response(events, request)["choices"][0]["message"]


def sdk(content, content_type="text/event-stream"):
    def answer(_):
        return httpx.Response(200, headers={"content-type": content_type}, content=content)

    http = httpx.Client(transport=httpx.MockTransport(answer))
    return openai.OpenAI(base_url="http://courier.test/v1", api_key="test", http_client=http)


def read_by_sdk(content, **asked):
    """The completion that the SDK's strictest helper puts together."""
    messages = [{"role": "user", "content": "Hi"}]
    with sdk(content).chat.completions.stream(model="tiny", messages=messages, **asked) as stream:
        for _ in stream:
            pass
        # The final one is not to be had of an answer that was cut short.
        return stream.current_completion_snapshot


# Streams


def test_a_stream_opens_with_the_role_and_ends_with_reason_usage_and_marker():
    opening, hello, end, usage = chunks_of(STARTED, TextDelta("Hello"), Finished("stop"), USAGE)

    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert hello["choices"] == [
        {"index": 0, "delta": {"content": "Hello"}, "logprobs": None, "finish_reason": None}
    ]
    assert end["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 15)


def test_every_chunk_has_the_marks_of_the_answer():
    marks = {
        (chunk["id"], chunk["model"], chunk["object"])
        for chunk in chunks_of(STARTED, TextDelta("Hello"), Finished("stop"), USAGE)
    }

    assert marks == {("msg_1", "vendor-model", "chat.completion.chunk")}


def test_an_answer_without_marks_gets_some():
    chunk = chunks_of(Started("", ""), TextDelta("Hello"))[0]

    assert (chunk["id"].startswith("chatcmpl-"), chunk["model"]) == (True, "tiny")


def test_usage_is_told_to_those_who_ask():
    chunks = chunks_of(STARTED, TextDelta("Hi"), Finished("stop"), USAGE, request={"model": "tiny"})

    assert not any("usage" in chunk for chunk in chunks)


def test_other_chunks_say_null_where_usage_is_asked_for():
    *others, last = chunks_of(STARTED, TextDelta("Hi"), Finished("stop"), USAGE)

    assert {chunk["usage"] for chunk in others} == {None}
    assert last["usage"]["prompt_tokens_details"] == {
        "cached_tokens": 4,
        "audio_tokens": 0,
        "cache_write_tokens": 3,
        "cache_creation_token_details": {
            "ephemeral_5m_input_tokens": 2,
            "ephemeral_1h_input_tokens": 1,
        },
    }


def test_an_answer_without_a_word_is_still_an_answer():
    answer = validator.check(stream_of(STARTED, Finished("stop"), USAGE))

    assert (answer.text, answer.finish, answer.complete) == ("", "stop", True)


def test_calls_are_streamed_piece_by_piece():
    assert deltas_of(STARTED, *CALLS, Finished("tool_calls")) == [
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "f", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "call_2__sig__c2ln",
                    "type": "function",
                    "function": {"name": "g", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
    ]


def test_a_call_without_arguments_has_an_empty_object():
    call = ToolCallStarted(0, "call_1", "now")

    (answer,) = validator.check(stream_of(STARTED, call, Finished("tool_calls"))).tool_calls
    assert answer["arguments"] == {}


def test_thoughts_are_told_and_given_with_their_signatures():
    assert deltas_of(STARTED, *THOUGHTS, TextDelta("Yes."), Finished("stop")) == [
        {"reasoning_content": "Let me "},
        {"reasoning_content": "see."},
        {
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "text": "Let me see.",
                    "signature": SIGNATURE,
                    "index": 0,
                }
            ]
        },
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": HIDDEN, "index": 1}]},
        {"content": "Yes."},
    ]


def test_what_else_is_told_has_its_own_field():
    source = {"type": "url_citation", "url_citation": {"url": "https://x.test"}}
    image = Media("image", "image/png", "AAAA")

    assert deltas_of(
        STARTED, RefusalDelta("No."), Annotated(source), MediaMade(image), Finished("stop")
    ) == [
        {"refusal": "No."},
        {"annotations": [{**source, "index": 0}]},
        {
            "images": [
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,AAAA"},
                    "index": 0,
                }
            ]
        },
    ]


def test_choices_open_in_their_order():
    chunks = chunks_of(
        STARTED,
        TextDelta("b", 1),
        TextDelta("a", 0),
        Finished("stop", choice=1),
        Finished("length"),
    )

    said = [(c["choices"][0]["index"], c["choices"][0]["finish_reason"]) for c in chunks]
    assert said == [(0, None), (1, None), (1, None), (0, None), (0, "length"), (1, "stop")]


@pytest.mark.parametrize("choice", [128, 10**9])
def test_choices_without_end_are_left_out(choice):
    assert len(chunks_of(STARTED, TextDelta("x", choice), Finished("stop", choice=choice))) == 2


def test_a_client_of_functions_is_told_of_one():
    request = {"model": "tiny", "functions": [{"name": "f"}]}

    *_, end = chunks_of(STARTED, *CALLS[:2], Finished("tool_calls"), request=request)

    assert deltas_of(STARTED, *CALLS[:2], Finished("tool_calls"), request=request) == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"a":'}},
    ]
    assert end["choices"][0]["finish_reason"] == "function_call"


def test_an_error_ends_a_stream_without_a_sign_of_success():
    writer = openai_chat.stream_writer(ASKING)
    sent = writer.write(STARTED) + writer.write(TextDelta("He"))
    sent += writer.error_frame(errors.StreamInterrupted("It broke."), "request-1")

    assert not validator.check(sent).complete


def test_a_reason_of_couriers_own_is_written_as_it_is():
    *_, end = chunks_of(STARTED, TextDelta("Hi"), Finished("budget_exceeded"))

    assert end["choices"][0]["finish_reason"] == "budget_exceeded"


# Whole answers


def test_a_whole_answer_has_everything_in_one_message():
    source = {"type": "url_citation", "url_citation": {"url": "https://x.test"}}
    events = [STARTED, *THOUGHTS, TextDelta("Yes"), TextDelta("."), Annotated(source), *CALLS]

    assert message_of(*events, Finished("tool_calls"), USAGE, Ended()) == {
        "role": "assistant",
        "content": "Yes.",
        "refusal": None,
        "reasoning_content": "Let me see.",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {
                "id": "call_2__sig__c2ln",
                "type": "function",
                "function": {"name": "g", "arguments": "{}"},
            },
        ],
        "reasoning_details": [
            {"type": "reasoning.text", "text": "Let me see.", "signature": SIGNATURE},
            {"type": "reasoning.encrypted", "data": HIDDEN},
        ],
        "annotations": [source],
    }


@pytest.mark.parametrize(
    ("events", "content"), [([], ""), ([RefusalDelta("No.")], None), (CALLS, None)]
)
def test_content_is_null_where_something_else_is_said(events, content):
    assert message_of(STARTED, *events, Finished("stop"))["content"] == content


def test_several_answers_are_choices():
    body = openai_chat.write_response(
        [
            STARTED,
            TextDelta("a"),
            TextDelta("b", 1),
            Finished("stop"),
            Finished("length", choice=1),
        ],
        ASKING,
    )

    assert [choice["message"]["content"] for choice in body["choices"]] == ["a", "b"]
    assert [choice["finish_reason"] for choice in body["choices"]] == ["stop", "length"]


def test_a_whole_answer_for_a_client_of_functions_calls_one():
    request = {"model": "tiny", "functions": [{"name": "f"}]}
    body = openai_chat.write_response([STARTED, *CALLS, Finished("tool_calls")], request)

    (choice,) = body["choices"]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert (choice["finish_reason"], "tool_calls" in choice["message"]) == ("function_call", False)


# OpenAI's own SDK


def test_the_sdk_puts_thoughts_and_their_signatures_together_again():
    completion = read_by_sdk(stream_of(STARTED, *THOUGHTS, TextDelta("Yes."), Finished("stop")))

    message = completion.choices[0].message
    assert (message.content, message.reasoning_content) == ("Yes.", "Let me see.")
    echoed = openai_chat.read_request({"messages": [message.to_dict()]})
    assert echoed.messages[0].parts[0].signature == "c2ln"


def test_the_sdk_joins_calls_and_parses_strict_arguments():
    tool = {
        "type": "function",
        "function": {"name": "f", "strict": True, "parameters": {"type": "object"}},
    }
    content = stream_of(STARTED, *CALLS[:2], CALLS[3], Finished("tool_calls"), USAGE)

    (call,) = read_by_sdk(content, tools=[tool]).choices[0].message.tool_calls
    assert call.function.parsed_arguments == {"a": 1}


def test_the_sdk_reads_logprobs():
    token = {"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": []}
    content = stream_of(STARTED, TextDelta("Hi"), LogProbs([token]), Finished("stop"))

    (read,) = read_by_sdk(content).choices[0].logprobs.content
    assert (read.token, read.logprob) == ("Hi", -0.5)


def test_the_sdk_reads_several_answers():
    events = [STARTED, TextDelta("b", 1), TextDelta("a"), Finished("stop"), Finished("stop", "", 1)]

    choices = read_by_sdk(stream_of(*events)).choices
    assert [choice.message.content for choice in choices] == ["a", "b"]


def test_the_sdk_raises_an_error_in_mid_stream():
    writer = openai_chat.stream_writer(ASKING)
    sent = writer.write(STARTED) + writer.write(TextDelta("He"))
    sent += writer.error_frame(errors.StreamInterrupted("It broke."), "request-1")

    with pytest.raises(openai.APIError, match=r"It broke\."):
        read_by_sdk(sent)


def test_the_sdk_reads_a_whole_answer():
    body = openai_chat.write_response([STARTED, *CALLS, Finished("tool_calls"), USAGE], ASKING)
    client = sdk(json.dumps(body).encode(), "application/json")

    completion = client.chat.completions.create(model="tiny", messages=[])

    assert [call.function.name for call in completion.choices[0].message.tool_calls] == ["f", "g"]
    assert completion.usage.completion_tokens_details.reasoning_tokens == 2


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.streams and case.is_complete], ids=str
)
async def test_the_sdk_reads_every_upstreams_answer(case):
    completion = read_by_sdk(await written(openai_chat, case))

    message = completion.choices[0].message
    said = (message.content or "") + (message.refusal or "")
    assert said == case.facts.get("text", said)
    calls = [call.function.name for call in message.tool_calls or ()]
    assert calls == [call["name"] for call in case.facts.get("tool_calls", ())] or (
        "tool_calls" not in case.facts
    )
