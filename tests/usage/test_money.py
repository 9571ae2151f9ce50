"""Nano-dollars as people read them."""

import pytest

from usage.money import dollars, exact_dollars


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (1, "$0.00000000100"),
        (123_456, "$0.000123"),
        (12_345_678, "$0.0123"),
        (500_000_000, "$0.500"),
        (999_999_999, "$1.000"),
        (1_000_000_000, "$1.00"),
        (1_234_567_890_000, "$1,234.57"),
    ],
)
def test_a_cost_has_sensible_digits(nano, text):
    assert dollars(nano) == text


@pytest.mark.parametrize(
    ("nano", "text"),
    [(None, "unknown"), (1, "$0.000000001"), (2**53 + 1, "$9,007,199.254740993")],
)
def test_an_exact_cost_has_every_digit(nano, text):
    assert exact_dollars(nano) == text
