"""Headers in which vendors tell what is left."""

from datetime import UTC, datetime

import pytest

from gateway.quotas import MOST_LIMITS, Told, seconds_until, told_in

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
OPENAI = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-tokens": "6m0s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "1000",
    "anthropic-ratelimit-requests-remaining": "999",
    "anthropic-ratelimit-requests-reset": "2026-11-25T12:00:02Z",
    "anthropic-ratelimit-input-tokens-limit": "80000",
    "anthropic-ratelimit-input-tokens-remaining": "40000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-25T12:00:30Z",
    "anthropic-ratelimit-output-tokens-limit": "16000",
    "anthropic-ratelimit-output-tokens-remaining": "0",
    "anthropic-ratelimit-output-tokens-reset": "2026-11-25T12:01:00Z",
    "anthropic-ratelimit-unified-status": "allowed",
}


def test_those_of_openai_are_read():
    assert told_in(OPENAI, NOW) == {
        "requests": Told(60, 59, 1.0),
        "tokens": Told(150_000, 149_984, 360.0),
    }


def test_those_of_anthropic_are_read():
    assert told_in(ANTHROPIC, NOW) == {
        "requests": Told(1000, 999, 2.0),
        "input tokens": Told(80_000, 40_000, 30.0),
        "output tokens": Told(16_000, 0, 60.0),
    }


def test_those_of_azure_say_no_limit():
    headers = {"x-ratelimit-remaining-requests": "9", "x-ratelimit-remaining-tokens": "990"}

    assert told_in(headers, NOW) == {
        "requests": Told(None, 9, None),
        "tokens": Told(None, 990, None),
    }


def test_those_of_mistral_are_read():
    headers = {"x-ratelimit-limit-req-minute": "30", "x-ratelimit-remaining-req-minute": "29"}

    assert told_in(headers, NOW) == {"req minute": Told(30, 29, None)}


def test_one_without_a_subject_is_read():
    headers = {"ratelimit-limit": "10", "ratelimit-remaining": "3", "ratelimit-reset": "20"}

    assert told_in(headers, NOW) == {"": Told(10, 3, 20.0)}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"x-ratelimit-remaining-tokens": "many"},
        {"x-ratelimit-remaining-tokens": "-1"},
        {"x-ratelimit-remaining-tokens": "9" * 30},
        {"x-ratelimit-limit-tokens": "0", "x-ratelimit-remaining-tokens": "0"},
        {"x-ratelimit-limit-remaining": "3"},
        {"x-ratelimit-over-limit": "no"},
    ],
)
def test_what_says_nothing_is_left_alone(headers):
    assert told_in(headers, NOW) == {}


def test_no_answer_makes_up_limits_without_end():
    headers = {f"x-ratelimit-remaining-{n}": "1" for n in range(1000)}

    assert len(told_in(headers, NOW)) == MOST_LIMITS


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("6m0s", 360),
        ("2m59.56s", 179.56),
        ("120ms", 0.12),
        ("1h2m3s", 3723),
        ("1d", 86400),
        ("30", 30),
        ("7.66", 7.66),
        ("2026-11-25T12:00:30Z", 30),
        ("2026-11-25T13:00:30+01:00", 30),
        ("2026-11-25T11:00:00Z", 0),
        ("1795608030", 30),
        ("1795608030000", 30),
        ("soon", None),
        ("1x", None),
        ("s", None),
        ("", None),
        (None, None),
    ],
)
def test_a_reset_is_understood_however_it_is_told(value, seconds):
    told = seconds_until(value, NOW)

    assert told == (seconds if seconds is None else pytest.approx(seconds))
