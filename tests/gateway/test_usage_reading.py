"""What is read of the usage that other people's servers report."""

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.base import integer
from gateway.dialects.openai_chat import OpenAIChat
from gateway.dialects.openai_usage import read_usage
from lib.tokens import TokenUsage
from registry.pricing import price_of
from tests.fakes.upstream import frame
from tests.gateway.usages import GOLDEN, price_row

GOLDEN_CASES = pytest.mark.parametrize(
    ("usage", "classes", "figures", "cost_nano"), GOLDEN.values(), ids=GOLDEN
)


@GOLDEN_CASES
class TestGoldenUsage:
    """Pain 6 of field.md: disjoint classes, and the same cost in a stream and in one piece."""

    def test_of_a_whole_answer(self, usage, classes, figures, cost_nano):
        assert OpenAIChat().usage_in({"usage": usage}) == classes

    def test_of_a_stream(self, usage, classes, figures, cost_nano):
        watch = OpenAIChat().watch({})
        watch.see(frame({"choices": [], "usage": usage}))

        assert watch.usage == classes

    def test_costs_what_the_vendor_charges(self, usage, classes, figures, cost_nano):
        assert price_of(price_row(figures)).cost_nano(read_usage(usage)) == cost_nano


def test_all_classes_of_tokens_are_read():
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 80},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }

    assert read_usage(usage) == TokenUsage(100, 80, 0, 50, 20)


@pytest.mark.parametrize(
    ("claimed", "read"),
    [
        (7, 7),
        (0, 0),
        (-7, 0),
        (7.9, 7),
        (-0.5, 0),
        ("7", 0),
        (None, 0),
        (True, 0),
        ([7], 0),
        ({}, 0),
        (2**63, 10**12),
        (1e300, 10**12),
        (float("nan"), 0),
        (float("inf"), 10**12),
        (float("-inf"), 0),
    ],
)
def test_a_count_is_whole_not_negative_and_bounded(claimed, read):
    assert integer(claimed) == read


def test_parts_are_never_larger_than_the_whole():
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 6,
        "prompt_tokens_details": {"cached_tokens": 500},
        "completion_tokens_details": {"reasoning_tokens": 600},
    }

    read = read_usage(usage)

    assert (read.cached_input_tokens, read.reasoning_tokens) == (5, 6)


@pytest.mark.parametrize(
    "usage", [None, {}, [], "7", 7, {"total_tokens": 7}, {"prompt_tokens": None}]
)
def test_an_object_without_counts_reports_nothing(usage):
    assert read_usage(usage) is None


def test_details_of_odd_shape_are_left_out():
    usage = {"prompt_tokens": 5, "prompt_tokens_details": [1], "completion_tokens_details": "x"}

    assert read_usage(usage) == TokenUsage(input_tokens=5)


counts = st.none() | st.integers(-5, 2000)
details = st.none() | st.dictionaries(
    st.sampled_from(["cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens"]),
    counts,
)


@given(
    st.fixed_dictionaries(
        {"prompt_tokens": st.integers(0, 2000), "completion_tokens": st.integers(0, 2000)},
        optional={
            "total_tokens": counts,
            "prompt_tokens_details": details,
            "completion_tokens_details": details,
            "cache_read_input_tokens": counts,
            "cache_creation_input_tokens": counts,
            "cache_creation": st.fixed_dictionaries({"ephemeral_1h_input_tokens": counts}),
        },
    )
)
def test_whatever_is_reported_the_parts_fit_into_their_whole(usage):
    read = read_usage(usage)

    parts_in = read.cached_input_tokens + read.cache_write_tokens + read.audio_input_tokens
    assert parts_in <= read.input_tokens
    assert read.cache_write_1h_tokens <= read.cache_write_tokens
    assert read.reasoning_tokens + read.audio_output_tokens <= read.output_tokens
    assert min(astuple(read)) >= 0
