import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import options
from registry.generic import LARGEST, complaints, examples, options_from

LEAST = {
    "request": {"path": "/chat", "body": {"model": "{{model}}", "messages": "{{messages}}"}},
    "response": {"text": "text"},
}
STREAM = {"format": "sse", "text": "text", "done": {"data": "[DONE]"}}


def with_(**changes):
    """The least options with values at places such as request__path."""
    told = copy.deepcopy(LEAST)
    for place, value in changes.items():
        *outer, last = place.split("__")
        inner = told
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return told


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_the_examples_are_sound(example):
    assert options.complaints("generic", example.options) == []


@pytest.mark.parametrize(
    "told",
    [
        LEAST,
        with_(stream=STREAM),
        with_(request__headers={"x-api-key": "{{api_key}}", "x-version": "2024-01-01"}),
        with_(request__path="/v1/{{model}}/generate"),
        with_(stream={"format": "ndjson", "text": "t", "finish": "f"}),
    ],
)
def test_what_is_sound_is_taken(told):
    assert complaints(told) == []


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ([], "Options must be"),
        (None, "Options must be"),
        ({}, "request: "),
        (with_(more=1), "more: "),
        (with_(response__text="a..b"), "response.text: "),
        (with_(response__text=7), "response.text: "),
        (with_(response__finish_map={"X": "halt"}), "response.finish_map.X: "),
        (with_(request__body={"a": "{{x}}"}), "request.body: a: "),
        (with_(request__body={"a": "{{api_key}}"}), "request.body: a: "),
        (with_(request__body={"a": "say {{messages}}"}), "request.body: a: "),
        (with_(request__body=[]), "request.body: "),
        (with_(request__messages={"message": {"a": "{{model}}"}}), "request.messages.message: a: "),
        (with_(request__messages={"image": "{{url}}"}), "request.messages: "),
        (with_(stream={"format": "xml"}), "stream.format: "),
        (with_(stream={"format": "sse", "done": {"data": "x"}}), "stream: "),
        (with_(stream={"format": "sse", "text": "t"}), "stream: "),
        (with_(stream=STREAM | {"done": {}}), "stream.done: "),
        (with_(stream=STREAM | {"done": {"data": "x", "path": "y"}}), "stream.done: "),
        (with_(request__body={"a": "x" * LARGEST}), "Options take"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence_with_its_place(told, place):
    found = complaints(told)

    assert any(each.startswith(place) for each in found)
    assert all(each.endswith((".", '".')) for each in found)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "chat",
        "//evil.example/x",
        "/a?b=c",
        "/a#b",
        "/a b",
        "/a\\b",
        "/../x",
        "/ä",
        "/{{api_key}}",
    ]
    + ["https://evil.example/", "/@\n"],
)
def test_a_path_stays_behind_the_base_url(path):
    assert complaints(with_(request__path=path))
    assert complaints(with_(stream=STREAM | {"path": path}))


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Transfer-Encoding", "Connection", "TE", "upgrade", "Content-Type"]
    + ["Proxy-Authorization", "", "a b", "a:b", "a\r\nb", "ä", "Accept-Encoding", "Keep-Alive"],
)
def test_a_header_that_is_couriers_own_or_none_is_refused(name):
    (told,) = complaints(with_(request__headers={name: "x"}))

    assert told.startswith("request.headers: ")


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\x00", "ü", "{{messages}}", "{{x}}"])
def test_the_value_of_a_header_is_one_line(value):
    assert complaints(with_(request__headers={"x-a": value}))


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "Cookie", "X-Auth-Token"])
def test_a_secret_does_not_stand_among_options(name):
    assert complaints(with_(request__headers={name: "Bearer sk-live"}))
    assert not complaints(with_(request__headers={name: "Bearer {{api_key}}"}))


NAMES = st.sampled_from(
    ["request", "response", "stream", "path", "body", "headers", "text", "format", "done", "data"]
    + ["messages", "message", "roles", "tool_calls", "items", "usage", "input", "finish_map", "x"]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["/a", "{{model}}", "{{messages}}", "sse", "none", "a.b", "[0]", "stop"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)


@given(JSON)
def test_any_options_are_sound_or_told_in_sentences(told):
    found = complaints(told)

    assert all(isinstance(each, str) and each for each in found)
    if not found:
        options_from(told)


@given(st.dictionaries(NAMES, JSON, max_size=4), st.dictionaries(NAMES, JSON, max_size=4))
def test_any_change_of_sound_options_is_sound_or_told(request_, response):
    complaints({"request": LEAST["request"] | request_, "response": {"text": "t"} | response})


def test_options_nested_without_end_are_refused():
    told = []
    for _ in range(5000):
        told = [told]

    assert complaints(with_(request__body={"a": told}))
