import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_chat.watch import MOST_CHOICES
from gateway.dialects.openai_usage import read_usage
from lib.tokens import TokenUsage
from tests.fakes.upstream import DONE, HELLO, OPENING, STOP, STREAM, USAGE, chunk, frame, usage_of
from tests.gateway.conftest import HELLO as SAY_HELLO

ASK = b'{"stream_options":{"include_usage":true},'
names = st.sampled_from(["model", "stream_options", "seed", "metadata", "x", "mod\u00e9l", ""])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**53), max_value=2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
    | st.just("model"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def readdressed(raw, model="upstream-model"):
    return openai_chat.readdress(raw, orjson.loads(raw), model)


def watched(*frames, asked=False):
    watch = openai_chat.watch({"stream_options": {"include_usage": True}} if asked else {})
    seen = b"".join(map(watch.see, frames))
    return watch, seen


def choice(**delta):
    return frame({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


# The body on its way to the upstream


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"model":"tiny","n":1}', b'{"model":"upstream-model","n":1}'),
        (b'{ "n" : 1e0 ,\n "model"\t: "tiny" }', b'{ "n" : 1e0 ,\n "model"\t: "upstream-model" }'),
        (b'{"x":"\\u00e9 \xc3\xa9","model":"a\\"b"}',
         b'{"x":"\\u00e9 \xc3\xa9","model":"upstream-model"}'),
        (b'{"seed":123456789012345678901234567890,"model":"tiny"}',
         b'{"seed":123456789012345678901234567890,"model":"upstream-model"}'),
        (b'{"a":1,"a":2,"model":"tiny"}', b'{"a":1,"a":2,"model":"upstream-model"}'),
        (b'{"x":"\\"model\\": \\"other\\"","model":"tiny"}',
         b'{"x":"\\"model\\": \\"other\\"","model":"upstream-model"}'),
    ],
)  # fmt: skip
def test_only_the_models_name_changes(before, after):
    assert readdressed(before) == after


@pytest.mark.parametrize(
    "raw", [b'{"model":"other","model":"tiny"}', b'{"m\\u006fdel":"other","model":"tiny"}']
)
def test_a_model_that_is_named_twice_is_sent_once_whatever_its_name(raw):
    assert readdressed(raw, "tiny") == b'{"model":"tiny"}'


def test_a_body_for_a_model_of_the_same_name_is_sent_as_it_is():
    raw = b'{ "model":"tiny" , "x" : 1.0 }'

    assert readdressed(raw, "tiny") == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"m\\u006fdel":"tiny","metadata":{"model":"mine"}}',
        b'{"\\u006Dodel":"tiny","metadata":{"model":"mine"}}',
        b'{"metadata":{"model":"mine"},"model":"tiny"}',
        b'{"model":"tiny","tools":[{"properties":{"model":{"type":"string"}}}]}',
        b'{"kind":"model","model":"tiny"}',
        b'{"model":"other","model":"tiny"}',
        b'{"m\\u006fdel":"tiny","kind":"model"}',
    ],
)
def test_the_field_at_the_top_is_the_one_that_changes(raw):
    assert orjson.loads(readdressed(raw)) == orjson.loads(raw) | {"model": "upstream-model"}


def test_a_name_with_quotes_and_backslashes_is_written_as_json():
    sent = readdressed(b'{"model":"tiny"}', 'a"b\\1\\g<0>')

    assert orjson.loads(sent) == {"model": 'a"b\\1\\g<0>'}


@given(body=st.dictionaries(names, values, max_size=6), indent=st.sampled_from([None, 1, 4]))
def test_any_body_keeps_everything_but_its_address(body, indent):
    body |= {"model": "tiny", "stream": False}
    raw = json.dumps(body, indent=indent).encode()

    sent = readdressed(raw)

    assert orjson.loads(sent) == body | {"model": "upstream-model"}
    if raw.count(b'"model"') == 1:
        assert sent == raw.replace(b'"model": "tiny"', b'"model": "upstream-model"')


@given(body=st.dictionaries(names, values, max_size=6))
def test_any_stream_asks_for_usage_and_keeps_the_rest(body):
    body |= {"model": "tiny", "stream": True}
    body["stream_options"] = options = {"include_obfuscation": False}

    sent = orjson.loads(readdressed(json.dumps(body).encode()))

    expected = {"model": "upstream-model", "stream_options": options | {"include_usage": True}}
    assert sent == body | expected


@pytest.mark.parametrize("space", [b"", b" ", b"\n\t "])
def test_a_stream_without_options_keeps_its_bytes_behind_the_question_for_usage(space):
    raw = space + b'{ "model" : "tiny", "x": 1.50, "stream": true }' + space

    assert readdressed(raw) == (
        ASK + b' "model" : "upstream-model", "x": 1.50, "stream": true }' + space
    )


def test_a_stream_that_asks_for_usage_itself_keeps_its_bytes():
    raw = b'{"stream":true, "stream_options": {"include_usage":true }, "model":"tiny"}'

    assert readdressed(raw) == raw.replace(b'"tiny"', b'"upstream-model"')


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"x": 1}])
def test_options_that_do_not_ask_are_completed(options):
    raw = json.dumps({"model": "tiny", "stream": True, "stream_options": options}).encode()

    sent = orjson.loads(readdressed(raw))

    assert sent["stream_options"] == (options or {}) | {"include_usage": True}


# The stream on its way back


def test_usage_is_noted_and_hidden_unless_asked_for():
    watch, seen = watched(*STREAM)

    assert watch.usage.total_tokens == 10
    assert seen == b"".join(part for part in STREAM if part != USAGE)


def test_usage_is_passed_on_if_asked_for():
    _, seen = watched(*STREAM, asked=True)

    assert seen == b"".join(STREAM)


def test_empty_usage_in_other_chunks_is_hidden_with_it():
    _, seen = watched(chunk("Hi", usage=None))

    assert seen == chunk("Hi")


def test_empty_usage_in_other_chunks_is_passed_on_with_it():
    _, seen = watched(chunk("Hi", usage=None), asked=True)

    assert seen == chunk("Hi", usage=None)


def test_usage_in_a_chunk_that_says_something_passes_with_the_chunk():
    last = chunk("Hi", usage=usage_of(1, 1))

    watch, seen = watched(last)

    assert (seen, watch.usage.output_tokens) == (last, 1)


def test_of_continuous_usage_the_last_counts():
    watch, _ = watched(*(chunk("x", usage=usage_of(5, n)) for n in range(1, 5)))

    assert watch.usage.output_tokens == 4


def test_usage_that_says_nothing_is_none():
    watch, _ = watched(frame({"choices": [], "usage": {}}))

    assert watch.usage is None


def test_words_about_usage_are_only_words():
    says = chunk('{"usage": {"prompt_tokens": 9}}, "usage": null')

    watch, seen = watched(says)

    assert (seen, watch.usage) == (says, None)


def test_words_about_the_end_are_not_the_end():
    watch, _ = watched(chunk("data: [DONE]"), chunk("[DONE]"))

    assert not watch.is_complete


def test_words_about_errors_are_no_failure():
    watch, _ = watched(chunk('{"error": {"message": "no"}} "error"'))

    assert watch.failure is None


@pytest.mark.parametrize(
    "end", [DONE, b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", DONE + b": x\n\n"]
)
def test_the_end_marker_completes_the_stream(end):
    watch, _ = watched(HELLO, end)

    assert watch.is_complete


@pytest.mark.parametrize(
    "frames",
    [
        choice(content="Hi"),
        choice(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}]),
        choice(reasoning_content="Hm"),
        choice(reasoning="Hm"),
        choice(refusal="No"),
        STOP,
        frame({"choices": [{"index": 0, "text": "Hi"}]}),
        OPENING + HELLO,
    ],
)
def test_what_the_model_says_is_output(frames):
    watch, _ = watched(frames)

    assert watch.has_output


@pytest.mark.parametrize(
    "frames",
    [
        OPENING,
        b": keep-alive\n\n",
        choice(role="assistant", content=None),
        choice(),
        USAGE,
        DONE,
        frame({"choices": None}),
        frame({"choices": 5}),
        frame({"choices": [5, None, "x", {"delta": 7}]}),
        frame({"prompt_filter_results": [], "choices": []}),
        frame({"error": {"message": "Overloaded."}}),
    ],
)
def test_what_only_opens_or_ends_a_stream_is_no_output(frames):
    watch, _ = watched(frames)

    assert not watch.has_output


@pytest.mark.parametrize("data", [b"{not json", b"[]", b'"text"', b"7", b"\xff"])
def test_a_malformed_chunk_before_any_output_is_refused(data):
    with pytest.raises(ValueError):
        watched(sse.frame_of(data))


@pytest.mark.parametrize("data", [b'{"usage": {', b'{"error": '])
def test_a_malformed_chunk_that_matters_is_refused_later_too(data):
    with pytest.raises(ValueError):
        watched(HELLO, sse.frame_of(data))


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"message": "Overloaded.", "code": 529}, {"message": "Overloaded.", "code": 529}),
        ("Overloaded.", {"message": "Overloaded."}),
        ({}, None),
        (None, None),
    ],
)
def test_an_error_inside_the_stream_is_a_failure(error, failure):
    watch, _ = watched(HELLO, frame({"error": error}))

    assert watch.failure == failure


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"])), max_size=6))
def test_the_models_words_are_kept_for_counting(pieces):
    watch, _ = watched(*(chunk(piece) for piece in pieces))

    assert watch.seen_text() == "".join(pieces)


def test_words_of_reasoning_and_tool_calls_count_too():
    watch, _ = watched(
        choice(reasoning_content="Hm. "),
        choice(tool_calls=[{"index": 0, "function": {"name": "look", "arguments": '{"a":'}}]),
    )

    assert watch.seen_text() == 'Hm. look{"a":'


def test_a_pair_of_surrogates_split_over_chunks_is_one_character():
    watch, _ = watched(
        HELLO,
        b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\ude00"}}]}\n\n',
    )

    assert watch.seen_text() == "Hello\N{GRINNING FACE}"


def test_half_a_pair_of_surrogates_does_not_stop_the_count():
    watch, _ = watched(HELLO, b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n')

    assert watch.seen_text() == "Hello\\ud83d"


def test_words_beyond_what_is_kept_are_counted_by_their_length(monkeypatch):
    monkeypatch.setattr("gateway.dialects.seen_words.MOST_WORDS", 5)

    watch, _ = watched(HELLO, chunk("x" * 400))

    assert watch.seen_text().startswith("Hello")
    assert len(watch.seen_text()) == 405
    assert watch.output_estimate() == 101


def test_what_an_error_says_is_no_output_to_count():
    watch, _ = watched(HELLO, frame({"error": {"message": "Out of memory on node 7."}}))

    assert watch.seen_text() == "Hello"


# Whole answers and requests


@pytest.mark.parametrize("body", [None, [], {}, {"choices": None}, {"choices": {}}, {"data": []}])
def test_what_has_no_choices_is_no_answer(body):
    assert not openai_chat.is_answer(body)


def test_the_words_of_a_whole_answer_are_found():
    call = {"function": {"name": "look", "arguments": '{"at": "it"}'}}
    messages = [
        {"content": "Hi.", "reasoning_content": "Hm."},
        {"content": [{"type": "text", "text": "There."}], "tool_calls": [call]},
    ]
    body = {"choices": [{"message": message} for message in messages]}

    assert openai_chat.text_in(body).split("\n") == ["Hi.", "Hm.", "There.", '{"at": "it"}']


@pytest.mark.parametrize(
    "choices", [[], [None], [{"message": 5}], [{"message": {"tool_calls": 5, "content": 5}}]]
)
def test_an_answer_of_odd_shape_says_nothing(choices):
    assert openai_chat.text_in({"choices": choices}).strip() == ""


@pytest.mark.parametrize(
    ("body", "bound"),
    [
        ({}, 0),
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 50, "max_tokens": 100}, 100),
        ({"max_tokens": 100, "n": 3}, 300),
        ({"max_tokens": -5}, 0),
        ({"max_tokens": "many"}, 0),
        ({"max_tokens": True}, 0),
        ({"max_tokens": 10, "n": "x"}, 10),
        ({"max_tokens": 2**63}, 10**12),
    ],
)
def test_the_bound_of_the_output_is_read_with_care(body, bound):
    assert openai_chat.output_bound(body) == bound


def test_the_input_is_estimated_by_its_length_and_images():
    parts = [{"type": "text", "text": "x" * 40}, {"type": "image_url", "image_url": {"url": "u"}}]

    assert openai_chat.input_estimate({"messages": [{"content": parts}]}) == 10 + 800 + 1


def test_tools_are_a_part_of_the_input():
    body = {"messages": [SAY_HELLO], "tools": [{"type": "function"}]}

    assert openai_chat.input_text(body) == 'Say hello.\n[{"type":"function"}]'


@pytest.mark.parametrize("content", [None, 5, {}, [5, None, {"text": 5}, "x"]])
def test_content_of_odd_shape_has_no_words(content):
    assert openai_chat.input_text({"messages": [{"content": content}]}) == ""


def test_tools_count_in_the_estimate():
    body = {"messages": [SAY_HELLO], "tools": [{"type": "function", "name": "x" * 100}]}

    assert openai_chat.input_estimate(body) > 100 // 4


CALLS = [{"id": "1", "function": {"name": "write", "arguments": "x" * 400}}]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "assistant", "content": None, "tool_calls": CALLS}]},
        {"messages": [SAY_HELLO], "functions": [{"name": "x" * 400}]},
        {"messages": [SAY_HELLO], "response_format": {"json_schema": {"name": "x" * 400}}},
    ],
)
def test_what_the_model_reads_beside_words_is_a_part_of_the_input(body):
    assert openai_chat.input_estimate(body) > 100
    assert "x" * 400 in openai_chat.input_text(body)


def test_a_chinese_character_is_estimated_as_a_token():
    body = {"messages": [{"role": "user", "content": "你" * 100}]}

    assert openai_chat.input_estimate(body) == 101


# A stream that is ended early


def ended(*frames, asked=False, **request):
    options = {"stream_options": {"include_usage": True}} if asked else {}
    watch = openai_chat.watch({**options, **request})
    for one in frames:
        watch.see(one)
    ending = watch.ending("budget_exceeded", TokenUsage(input_tokens=5, output_tokens=2))
    return [sse.data_of(one) for one in sse.split(ending)]


def test_an_early_end_has_a_reason_and_the_end_marker():
    last, done = ended(OPENING, HELLO)

    chunk = orjson.loads(last)
    assert chunk["choices"] == [{"index": 0, "delta": {}, "finish_reason": "budget_exceeded"}]
    assert done == b"[DONE]"


def test_an_early_end_has_the_marks_of_the_chunks_before_it():
    opening = orjson.loads(sse.data_of(OPENING))
    last = orjson.loads(ended(OPENING, HELLO)[0])

    marks = ("id", "object", "created", "model")
    assert [last[name] for name in marks] == [opening[name] for name in marks]


def test_an_early_end_has_no_marks_of_a_chunk_that_only_filters():
    filtered = {"id": "", "object": "", "choices": [], "prompt_filter_results": []}

    chunk = orjson.loads(ended(frame(filtered), OPENING, HELLO)[0])
    assert chunk["object"] == "chat.completion.chunk"


def test_an_early_end_ends_every_choice():
    chunk = orjson.loads(ended(OPENING, HELLO, n=2)[0])

    assert [choice["index"] for choice in chunk["choices"]] == [0, 1]


def test_an_early_end_ends_no_more_choices_than_there_can_be():
    chunk = orjson.loads(ended(OPENING, HELLO, n=10**5)[0])

    assert len(chunk["choices"]) == MOST_CHOICES


def test_an_early_end_tells_the_usage_to_who_asked():
    _, usage, _ = ended(OPENING, HELLO, asked=True)

    told = orjson.loads(usage)
    assert told["choices"] == []
    assert read_usage(told["usage"]) == TokenUsage(input_tokens=5, output_tokens=2)
