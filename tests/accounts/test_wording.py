"""Refusals in words, and durations in headers."""

import pytest

from accounts.limits import Verdict
from accounts.rules import Need
from accounts.wording import go_duration, refusal, too_large
from tests.accounts.conftest import NOON_US, a_budget, a_limit, costs, rules_of

DAY_US = 86_400_000_000


def refused(budget, cost, *, spent=0, reserved=0, wait_us=1_000_000):
    verdict = Verdict(0, wait_us, NOON_US, [], [], [spent], [reserved], [1], [budget.amount_nano])
    return refusal(rules_of(budget), costs(cost), verdict)


def test_a_budget_that_is_used_up_says_when_it_begins_anew():
    budget = a_budget(5 * 10**9, "month", time_zone="Asia/Seoul", scope="team:1")
    error = refused(budget, 1, spent=5 * 10**9, wait_us=7 * DAY_US)
    assert error.message == (
        "The monthly budget of $5.00 for this key's team is used up. "
        "It begins anew at 2026-10-01 00:00 (Asia/Seoul)."
    )
    assert (error.status, error.code, error.should_retry) == (429, "insufficient_quota", False)
    assert error.retry_after == 7 * 86_400


def test_a_request_that_may_cost_more_than_is_left_is_told_how_much_that_is():
    error = refused(a_budget(10**9, "total"), 250_000_000, spent=900_000_000, wait_us=0)
    assert error.message == (
        "This request may cost $0.25, and of the total budget of $1.00 for this key $0.10 is left."
    )
    assert error.retry_after is None


def test_a_rolling_budget_says_when_there_is_more():
    error = refused(a_budget(10**9, "week", rolling=True), 1, spent=10**9, wait_us=90_000_000)
    assert error.message == (
        "The budget per 7 days of $1.00 for this key is used up. There is more again in 2 min."
    )


def test_a_budget_that_is_only_held_is_worth_another_try():
    error = refused(a_budget(10**9), 5, reserved=10**9)
    assert error.message == (
        "The rest of the daily budget of $1.00 for this key is held for requests that are "
        "running. Try again in 1 s."
    )
    assert (error.code, error.should_retry, error.retry_after) == ("budget_held", None, 1)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("input_tokens", "5 input tokens per minute for gpt-*. Make the prompt smaller."),
        ("output_tokens", "5 output tokens per minute for gpt-*. Make max_tokens smaller."),
    ],
)
def test_a_request_larger_than_a_limit_is_told_what_to_make_smaller(metric, words):
    assert too_large(a_limit(metric, 5, model="gpt-*"), 9).message.endswith(words)


def test_the_tightest_limit_on_any_tokens_is_in_the_headers():
    rules = rules_of(a_limit("tokens", 100), a_limit("output_tokens", 30), a_limit("requests", 0))
    verdict = Verdict(2, 1, NOON_US, [10, 25, 0], [0, 0, 0], [], [], [], [])
    headers = refusal(rules, Need(0, 0, 0), verdict).headers
    assert headers["x-ratelimit-limit-tokens"] == "30"
    assert headers["x-ratelimit-remaining-tokens"] == "5"


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
