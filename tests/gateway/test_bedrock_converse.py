"""Converse: what is asked, and what is answered."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.canonical import (
    ChatRequest,
    Ended,
    Failed,
    Finished,
    Media,
    MediaMade,
    Message,
    Reasoning,
    ResponseFormat,
    Started,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    ToolChoice,
    ToolResult,
    UsageReported,
)
from gateway.dialects.base import Drops
from gateway.dialects.bedrock_converse import bedrock_converse, read_usage
from gateway.dialects.signatures import GOOGLE, marked
from gateway.errors import UnsupportedParameter
from lib.tokens import TokenUsage
from tests.fakes.event_stream import event, exception
from tests.gateway.targets import make_target

CLAUDE = "eu.anthropic.claude-sonnet-4-20250514-v1:0"
NOVA = "amazon.nova-pro-v1:0"
WEATHER = Tool("weather", "Tells the weather.", {"type": "object"})


def user(*parts):
    return Message("user", [Text(part) if isinstance(part, str) else part for part in parts])


def asked(*messages, model=CLAUDE, drops=None, **fields):
    """The body for a request, and nothing that it has no place for unless `drops` are given."""
    request = ChatRequest(list(messages) or [user("Hello.")], **fields)
    given = drops or Drops(refuses=False)
    body = bedrock_converse.write_request(request, make_target(upstream_model=model), given)
    if drops is None:
        assert given.names == []
    return body


def dropped(*messages, model=CLAUDE, **fields):
    drops = Drops(refuses=False)
    asked(*messages, model=model, drops=drops, **fields)
    return drops.names


def content(*parts):
    return asked(user(*parts))["messages"][0]["content"]


# The request


def test_a_plain_question_is_one_turn_and_no_more():
    assert asked(user("Hello.")) == {
        "messages": [{"role": "user", "content": [{"text": "Hello."}]}]
    }


def test_instructions_are_apart_wherever_they_stand():
    body = asked(
        Message("system", [Text("Be brief.")]), user("Hi."), Message("system", [Text("!")])
    )

    assert body["system"] == [{"text": "Be brief."}, {"text": "!"}]
    assert [turn["role"] for turn in body["messages"]] == ["user"]


def test_neighbors_of_one_role_are_one_turn():
    body = asked(user("One."), user("Two."), Message("assistant", [Text("Three.")]))

    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant"]
    assert body["messages"][0]["content"] == [{"text": "One."}, {"text": "Two."}]


def test_blank_text_which_is_refused_is_left_out():
    assert content(" \n", "Hi.") == [{"text": "Hi."}]


def test_the_fields_of_inference_have_their_own_names():
    body = asked(max_tokens=9, temperature=0.0, top_p=0.5, stop=["x"])

    expected = {"maxTokens": 9, "temperature": 0.0, "topP": 0.5, "stopSequences": ["x"]}
    assert body["inferenceConfig"] == expected


def test_the_stop_sequence_is_asked_for_where_the_model_tells_it():
    path = ["/stop_sequence"]

    assert asked(stop=["x"])["additionalModelResponseFieldPaths"] == path
    assert "additionalModelResponseFieldPaths" not in asked(stop=["x"], model=NOVA)


def test_an_image_is_its_bytes():
    image = Media("image", "image/jpeg", data="QUJD")

    assert content(image) == [{"image": {"format": "jpeg", "source": {"bytes": "QUJD"}}}]


@pytest.mark.parametrize(
    ("media_type", "name"),
    [
        ("application/pdf", "pdf"),
        ("text/csv", "csv"),
        ("text/plain; charset=utf-8", "txt"),
        ("text/markdown", "md"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ],
)
def test_a_document_has_the_format_of_its_media_type(media_type, name):
    (block,) = content(Media("document", media_type, data="QUJD", name="a"))

    assert block["document"]["format"] == name


@pytest.mark.parametrize(
    ("given", "sent"),
    [("Q3_report (final).pdf", "Q3 report (final) pdf"), ("", "document"), ("x" * 999, "x" * 200)],
)
def test_a_document_has_a_name_that_is_allowed(given, sent):
    (block,) = content(Media("document", "application/pdf", data="QUJD", name=given))

    assert block["document"]["name"] == sent


def test_media_in_s3_stay_there():
    (block,) = content(Media("image", url="s3://bucket/cat.png"))

    source = {"s3Location": {"uri": "s3://bucket/cat.png"}}
    assert block["image"] == {"format": "png", "source": source}


def test_an_image_that_would_have_to_be_fetched_is_announced():
    assert dropped(user("Hi.", Media("image", url="https://x.example/a.png"))) == ["image_url"]


@pytest.mark.parametrize(
    ("ttl", "point"), [("5m", {"type": "default"}), ("1h", {"type": "default", "ttl": "1h"})]
)
def test_a_cache_point_comes_after_what_is_cached(ttl, point):
    assert content(Text("Long.", cache=ttl), "Hi.")[1] == {"cachePoint": point}


def test_tools_and_their_cache_points():
    body = asked(tools=[Tool("a"), Tool("b", "B.", {"type": "object"}, strict=True, cache="5m")])

    assert body["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "a", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
        {
            "toolSpec": {
                "name": "b",
                "description": "B.",
                "inputSchema": {"json": {"type": "object"}},
                "strict": True,
            }
        },
        {"cachePoint": {"type": "default"}},
    ]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice("auto"), {"auto": {}}),
        (ToolChoice("required"), {"any": {}}),
        (ToolChoice("named", "weather"), {"tool": {"name": "weather"}}),
    ],
)
def test_the_choice_of_a_tool(choice, sent):
    assert asked(tools=[WEATHER], tool_choice=choice)["toolConfig"]["toolChoice"] == sent


def test_where_no_tool_may_be_called_none_is_named():
    assert "toolConfig" not in asked(tools=[WEATHER], tool_choice=ToolChoice("none"))


CALLED = (
    user("How is it?"),
    Message("assistant", [ToolCall("call|1", "weather", '{"city":"Bern"}')]),
    Message("user", [ToolResult("call|1", [Text("Rain.")], failed=True)]),
)


def test_calls_and_their_results_have_ids_that_are_allowed():
    _, call, result = asked(*CALLED, tools=[WEATHER])["messages"]

    assert call["content"] == [
        {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Bern"}}}
    ]
    said = {"toolUseId": "call_1", "content": [{"text": "Rain."}], "status": "error"}
    assert result["content"] == [{"toolResult": said}]


def test_tools_that_were_called_are_named_even_if_the_client_does_not():
    (spec,) = asked(*CALLED)["toolConfig"]["tools"]

    assert spec["toolSpec"]["name"] == "weather"


def test_that_no_tool_may_be_called_cannot_be_said_after_a_call():
    choice = ToolChoice("none")

    assert dropped(*CALLED, tools=[WEATHER], tool_choice=choice) == ["tool_choice"]


@pytest.mark.parametrize("arguments", ["", "not json", "[1]", '"x"'])
def test_the_input_of_a_call_is_always_an_object(arguments):
    body = asked(user("Hi."), Message("assistant", [ToolCall("1", "weather", arguments)]))

    assert isinstance(body["messages"][1]["content"][0]["toolUse"]["input"], dict)


def test_thoughts_go_back_with_their_signature():
    thoughts = [Thinking("Hm.", "sig=="), Thinking("", redacted="ZW5j")]

    body = asked(user("Hi."), Message("assistant", thoughts))

    said = {"reasoningText": {"text": "Hm.", "signature": "sig=="}}
    assert body["messages"][1]["content"] == [
        {"reasoningContent": said},
        {"reasoningContent": {"redactedContent": "ZW5j"}},
    ]


def test_thoughts_of_others_are_left_out_and_nobody_misses_them():
    others = [Thinking("Hm."), Thinking("Hm.", marked(GOOGLE, "c2ln")), Text("Hello.")]

    body = asked(user("Hi."), Message("assistant", others))

    assert body["messages"][1]["content"] == [{"text": "Hello."}]
    assert dropped(user("Hi."), Message("assistant", others)) == []


@pytest.mark.parametrize(
    ("model", "reasoning", "sent"),
    [
        (
            CLAUDE,
            Reasoning(budget_tokens=4000),
            {"thinking": {"type": "enabled", "budget_tokens": 4000}},
        ),
        (
            CLAUDE,
            Reasoning(effort="low"),
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        ),
        (
            NOVA,
            Reasoning(effort="minimal"),
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}},
        ),
        ("openai.gpt-oss-120b-1:0", Reasoning(effort="high"), {"reasoning_effort": "high"}),
    ],
)
def test_each_family_of_models_is_told_to_think_in_its_own_words(model, reasoning, sent):
    assert asked(model=model, reasoning=reasoning)["additionalModelRequestFields"] == sent


def test_thinking_leaves_room_for_an_answer():
    body = asked(max_tokens=3000, reasoning=Reasoning(effort="high"))

    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 2999


@pytest.mark.parametrize(
    ("model", "max_tokens"), [(CLAUDE, 500), ("meta.llama3-1-8b-instruct-v1:0", None)]
)
def test_thinking_that_cannot_be_is_announced(model, max_tokens):
    reasoning = Reasoning(effort="high")

    assert dropped(model=model, max_tokens=max_tokens, reasoning=reasoning) == ["reasoning_effort"]


def test_claude_is_not_sampled_while_it_thinks():
    sampled = {"temperature": 0.3, "top_k": 5}
    thinking = {"reasoning": Reasoning(effort="low"), "max_tokens": 9000, **sampled}

    body = asked(user("Hi."), drops=Drops(refuses=False), **thinking)

    assert body["inferenceConfig"] == {"maxTokens": 9000}
    assert "top_k" not in body["additionalModelRequestFields"]
    assert dropped(**thinking) == ["temperature", "top_k"]
    assert asked(user("Hi."), **sampled)["inferenceConfig"] == {"temperature": 0.3}


def test_claude_does_not_think_beside_a_tool_that_must_be_called():
    forced = {"tools": [Tool("look")], "tool_choice": ToolChoice("required")}
    thinking = {"reasoning": Reasoning(effort="low"), "max_tokens": 9000, **forced}

    body = asked(user("Hi."), drops=Drops(refuses=False), **thinking)

    assert "additionalModelRequestFields" not in body
    assert dropped(**thinking) == ["reasoning_effort"]


@pytest.mark.parametrize(("signature", "thinks"), [("c2ln", True), ("", False)])
def test_claude_thinks_on_after_a_call_only_if_its_thoughts_came_back(signature, thinks):
    call = Message("assistant", [Thinking("Hm.", signature), ToolCall("c", "look", "{}")])
    result = Message("user", [ToolResult("c", [Text("4")])])

    asks = {"reasoning": Reasoning(effort="low"), "max_tokens": 9000}

    body = asked(user("Hi."), call, result, drops=Drops(refuses=False), **asks)

    assert ("additionalModelRequestFields" in body) is thinks


def test_later_claudes_decide_themselves_how_much_to_think():
    later = "eu.anthropic.claude-opus-4-7-v1:0"

    asks = {"reasoning": Reasoning(effort="high"), "temperature": 0.3}

    body = asked(user("Hi."), model=later, drops=Drops(refuses=False), **asks)

    fields = body["additionalModelRequestFields"]
    assert fields == {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
    assert "inferenceConfig" not in body


def test_no_thinking_is_the_default():
    assert "additionalModelRequestFields" not in asked(reasoning=Reasoning(enabled=False))


@pytest.mark.parametrize(
    ("model", "sent"), [(CLAUDE, {"top_k": 5}), (NOVA, {"inferenceConfig": {"topK": 5}})]
)
def test_top_k_has_its_place_by_model(model, sent):
    assert asked(model=model, top_k=5)["additionalModelRequestFields"] == sent


def test_a_schema_of_the_answer_is_text_in_the_format():
    form = ResponseFormat("json_schema", "city", {"type": "object"}, description="A city.")

    schema = {"schema": '{"type":"object"}', "name": "city", "description": "A city."}
    assert asked(response_format=form)["outputConfig"] == {
        "textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}
    }


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"seed": 0}, "seed"),
        ({"n": 2}, "n"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"user": "u-1"}, "user"),
        ({"parallel_tools": False}, "parallel_tool_calls"),
        ({"response_format": ResponseFormat("json_object")}, "response_format"),
    ],
)
def test_what_has_no_place_is_announced(fields, name):
    assert dropped(**fields) == [name]


def test_what_has_no_place_is_refused_where_that_is_asked_for():
    with pytest.raises(UnsupportedParameter):
        asked(drops=Drops(refuses=True), seed=1)


# The answer


def answer(*blocks, stop="end_turn", **more):
    message = {"role": "assistant", "content": list(blocks)}
    return {"output": {"message": message}, "stopReason": stop, **more}


def read(*blocks, **more):
    started, *events = bedrock_converse.read_response(answer(*blocks, **more))
    assert isinstance(started, Started)
    assert started.id
    return events


def test_a_whole_answer_is_read():
    usage = {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}

    events = read(
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "ZW5j"}},
        {"text": "Hi."},
        {"toolUse": {"toolUseId": "t1", "name": "a", "input": {"x": 1}}},
        {"toolUse": {"toolUseId": "t2", "name": "b", "input": {}}},
        {"image": {"format": "png", "source": {"bytes": "QUJD"}}},
        stop="tool_use",
        usage=usage,
    )

    assert events == [
        ThinkingDelta("Hm."),
        ThinkingSigned("s"),
        ThinkingRedacted("ZW5j"),
        TextDelta("Hi."),
        ToolCallStarted(0, "t1", "a"),
        ToolCallDelta(0, '{"x":1}'),
        ToolCallStarted(1, "t2", "b"),
        ToolCallDelta(1, "{}"),
        MediaMade(Media("image", "image/png", data="QUJD")),
        Finished("tool_calls"),
        UsageReported(TokenUsage(input_tokens=5, output_tokens=7)),
    ]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something new", "stop"),
    ],
)
def test_the_reason_to_stop(told, reason):
    assert read(stop=told) == [Finished(reason)]


def test_the_stop_sequence_is_told():
    more = {"stop": "stop_sequence", "additionalModelResponseFields": {"stop_sequence": "END"}}

    assert read(**more) == [Finished("stop", "END")]


def test_malformed_output_is_a_failure():
    failure = bedrock_converse.failure_in(answer({"text": "{"}, stop="malformed_tool_use"))

    assert failure
    assert failure["status"] == 502
    assert bedrock_converse.failure_in(answer({"text": "Hi."})) is None


@pytest.mark.parametrize("body", [None, [], {}, {"output": {}}, {"message": "Unable."}])
def test_what_is_no_answer_is_known(body):
    assert not bedrock_converse.is_answer(body)
    assert bedrock_converse.is_answer(answer())


def test_all_of_the_input_is_what_was_cached_and_what_was_not():
    usage = read_usage(
        {
            "inputTokens": 10,
            "outputTokens": 7,
            "totalTokens": 1317,
            "cacheReadInputTokens": 1000,
            "cacheWriteInputTokens": 300,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 100}, {"ttl": "5m", "inputTokens": 200}],
        }
    )

    assert usage == TokenUsage(
        input_tokens=1310,
        cached_input_tokens=1000,
        cache_write_tokens=300,
        cache_write_1h_tokens=100,
        output_tokens=7,
    )


@pytest.mark.parametrize("usage", [None, {}, [], "x", {"totalTokens": 5}])
def test_no_usage_is_no_claim_that_nothing_was_used(usage):
    assert read_usage(usage) is None


# The stream


def streamed(*messages):
    """The events of a stream, its end included."""
    framer, reader = bedrock_converse.framing(), bedrock_converse.stream_reader()
    events = list(reader.read(framer.feed(b"".join(messages))))
    return events if any(isinstance(each, Ended) for each in events) else events + [*reader.close()]


def delta(index=0, **of):
    return event("contentBlockDelta", contentBlockIndex=index, delta=of)


def call(index, call_id, name):
    start = {"toolUse": {"toolUseId": call_id, "name": name}}
    return event("contentBlockStart", contentBlockIndex=index, start=start)


STOP = event("messageStop", stopReason="end_turn")
USAGE = event("metadata", usage={"inputTokens": 5, "outputTokens": 7}, metrics={"latencyMs": 1})


def test_a_stream_is_read():
    _, *events = streamed(
        event("messageStart", role="assistant"),
        delta(text="Hel"),
        delta(text="lo."),
        event("contentBlockStop", contentBlockIndex=0),
        STOP,
        USAGE,
    )

    assert events == [
        TextDelta("Hel"),
        TextDelta("lo."),
        Finished("stop"),
        UsageReported(TokenUsage(input_tokens=5, output_tokens=7)),
        Ended(),
    ]


def test_calls_count_from_zero_whatever_their_blocks_are():
    events = streamed(
        delta(text="Let me see."),
        call(1, "t1", "a"),
        delta(1, toolUse={"input": '{"x"'}),
        delta(1, toolUse={"input": ":1}"}),
        call(2, "t2", "b"),
        delta(2, toolUse={"input": "{}"}),
    )

    assert events[1:] == [
        ToolCallStarted(0, "t1", "a"),
        ToolCallDelta(0, '{"x"'),
        ToolCallDelta(0, ":1}"),
        ToolCallStarted(1, "t2", "b"),
        ToolCallDelta(1, "{}"),
    ]


def test_a_call_without_input_has_an_empty_object():
    stop = event("contentBlockStop", contentBlockIndex=0)

    assert streamed(call(0, "t1", "now"), stop)[1:] == [ToolCallDelta(0, "{}")]
    assert streamed(call(0, "t1", "now"), delta(toolUse={"input": "[]"}), stop)[1:] == [
        ToolCallDelta(0, "[]")
    ]


def test_thoughts_are_streamed_with_their_signature():
    events = streamed(
        delta(reasoningContent={"text": "Hm."}),
        delta(reasoningContent={"signature": "s"}),
        delta(1, reasoningContent={"redactedContent": "ZW5j"}),
    )

    assert events == [ThinkingDelta("Hm."), ThinkingSigned("s"), ThinkingRedacted("ZW5j")]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("throttlingException", 429),
        ("ThrottlingException", 429),
        ("validationException", 400),
        ("modelStreamErrorException", 424),
        ("serviceUnavailableException", 503),
        ("internalServerException", 500),
        ("somethingNew", 500),
    ],
)
def test_an_exception_in_the_stream_is_a_failure(name, status):
    events = streamed(delta(text="Hi"), exception(name, "No."))

    assert events[1:] == [Failed({"message": "No.", "type": name, "status": status})]


def test_without_a_reason_to_stop_a_stream_is_not_complete():
    assert Ended() not in streamed(delta(text="Hi"))


def test_a_stream_that_lacks_only_its_usage_is_complete():
    assert streamed(delta(text="Hi"), STOP)[-1] == Ended()


def test_events_that_nobody_knows_are_passed_over():
    assert streamed(event("novelty", x=1), event("contentBlockDelta", delta={"novelty": 1})) == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "text",
                    "toolUse",
                    "input",
                    "reasoningContent",
                    "delta",
                    "start",
                    "usage",
                    "stopReason",
                ]
                + ["contentBlockIndex", "image", "source", "content", "citationsContent", "name"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata"]
    + ["exception", "novelty"]
)


@given(NAMES, JSON)
def test_a_stream_of_anything_is_read_or_malformed(name, payload):
    frame = b"data: " + orjson.dumps({name: payload}, option=orjson.OPT_NON_STR_KEYS) + b"\n\n"

    list(bedrock_converse.stream_reader().read(frame))


@given(JSON, JSON)
def test_a_whole_answer_of_anything_is_read(block, usage):
    bedrock_converse.read_response(answer(block, usage=usage))
