"""Anthropic's usage objects, alone and as a stream reports them one after the other."""

import pytest

from gateway.dialects.anthropic_messages.usage import merged, read_usage, written_usage
from lib.tokens import TokenUsage


def split(five, hour):
    return {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour}


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"input_tokens": 7, "output_tokens": 3}, TokenUsage(7, output_tokens=3)),
        ({"input_tokens": 7, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 30,
          "cache_creation": split(10, 20), "output_tokens": 3},
         TokenUsage(137, 100, 30, 3, cache_write_1h_tokens=20)),
        ({"input_tokens": 7, "cache_creation": split(10, 20), "output_tokens": 3},
         TokenUsage(37, 0, 30, 3, cache_write_1h_tokens=20)),
        ({"input_tokens": 7, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}},
         TokenUsage(7, output_tokens=9, reasoning_tokens=4)),
        ({"input_tokens": 7, "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 40}},
         TokenUsage(7, output_tokens=9, reasoning_tokens=9)),
        ({"input_tokens": 7, "output_tokens": 9, "server_tool_use": {"web_search_requests": 2}},
         TokenUsage(7, output_tokens=9, search_units=2)),
        ({"input_tokens": 7, "cache_read_input_tokens": None, "cache_creation": None},
         TokenUsage(7)),
        ({"input_tokens": -1, "output_tokens": "9", "cache_creation": [1]}, TokenUsage()),
    ],
)  # fmt: skip
def test_classes_that_are_disjoint_there_are_parts_here(told, usage):
    assert read_usage(told) == usage


@pytest.mark.parametrize("told", [None, {}, [], "7", {"input_tokens": None}, {"x": 1}])
def test_an_object_that_says_nothing_is_none(told):
    assert read_usage(told) is None


@pytest.mark.parametrize(
    "usage",
    [
        TokenUsage(7, output_tokens=3),
        TokenUsage(137, 100, 30, 9, 4, cache_write_1h_tokens=20, search_units=2),
        TokenUsage(100, 100, 0, 1),
    ],
)
def test_what_is_written_is_read_again(usage):
    assert read_usage(written_usage(usage)) == usage


@pytest.mark.parametrize(
    ("first", "last", "together"),
    [
        ({"input_tokens": 7, "output_tokens": 1}, {"output_tokens": 9},
         TokenUsage(7, output_tokens=9)),
        ({"input_tokens": 7, "output_tokens": 1}, {"input_tokens": 12, "output_tokens": 9},
         TokenUsage(12, output_tokens=9)),
        ({"input_tokens": 7, "output_tokens": 1}, {"input_tokens": 0, "output_tokens": 9},
         TokenUsage(7, output_tokens=9)),
        ({"input_tokens": 7, "output_tokens": 1},
         {"input_tokens": 0, "cache_read_input_tokens": 7, "output_tokens": 9},
         TokenUsage(7, 7, output_tokens=9)),
        ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 7, "output_tokens": 9},
         TokenUsage(7, output_tokens=9)),
        ({"input_tokens": 7, "cache_read_input_tokens": 3}, {"input_tokens": 9, "output_tokens": 1},
         TokenUsage(12, 3, output_tokens=1)),
        ({"input_tokens": 7, "output_tokens": 1}, None, TokenUsage(7, output_tokens=1)),
        ({}, {"output_tokens": 9}, TokenUsage(output_tokens=9)),
    ],
)  # fmt: skip
def test_what_is_told_last_counts(first, last, together):
    assert read_usage(merged(merged({}, first), last)) == together


@pytest.mark.parametrize(
    ("first", "hour"),
    [(split(0, 400), 900), (split(400, 0), 0), (split(100, 300), 300)],
)
def test_later_steps_write_to_the_cache_for_as_long_as_the_first(first, hour):
    start = {"input_tokens": 7, "cache_creation_input_tokens": 400, "cache_creation": first}
    end = {"cache_creation_input_tokens": 900, "output_tokens": 9}

    usage = read_usage(merged(merged({}, start), end))

    assert (usage.cache_write_tokens, usage.cache_write_1h_tokens) == (900, hour)
