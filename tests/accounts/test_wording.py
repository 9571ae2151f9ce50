"""Refusals in words, and durations in headers."""

import pytest

from accounts.wording import go_duration


@pytest.mark.parametrize(
    ("microseconds", "words"),
    [
        (0, "0s"),
        (1, "1ms"),
        (11_500, "12ms"),
        (999_000, "999ms"),
        (999_001, "1s"),
        (1_000_000, "1s"),
        (1_000_001, "2s"),
        (59_000_000, "59s"),
        (360_000_000, "6m0s"),
        (86_400_000_000, "24h0m0s"),
    ],
)
def test_durations_are_written_as_go_reads_them(microseconds, words):
    assert go_duration(microseconds) == words
