import pytest

from gateway.dialects.base import integer
from gateway.dialects.openai import read_usage
from lib.tokens import TokenUsage


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
