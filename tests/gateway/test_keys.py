"""What is known of upstream keys, and what follows from it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway import errors, keys
from gateway.keys import Keys
from gateway.routing import Out
from registry.key_health import Board, Gauge, Meter, Place
from registry.key_terms import KeyTerms
from tests.gateway.targets import make_target

TARGET = make_target(key_id=7)
#: Another route and model with the same key.
BESIDE = make_target(2, provider_id=1, key_id=7)
OTHER_KEY = make_target(key_id=8)


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def known(clock):
    return Keys(Board(), clock)


def limited(after):
    return errors.UpstreamRateLimited("", retry_after=after)


def remaining(tokens, *, limit=1000, reset="30s"):
    return {
        "x-ratelimit-limit-tokens": str(limit),
        "x-ratelimit-remaining-tokens": str(tokens),
        "x-ratelimit-reset-tokens": reset,
    }


def test_a_key_of_which_nothing_is_known_may_be_used(known):
    assert (known.out(TARGET), known.quota_left(TARGET)) == (None, 1.0)


def test_a_429_cools_the_key_as_long_as_told_on_all_its_routes(known, clock):
    known.failed(TARGET, limited(12.5))

    assert known.out(TARGET) == Out("key_rate_limited", pytest.approx(12.5), is_final=True)
    assert known.out(BESIDE) is not None
    assert known.out(OTHER_KEY) is None
    clock.now += 12.6
    assert known.out(TARGET) is None


def test_a_429_without_a_time_is_left_to_the_breaker(known):
    known.failed(TARGET, limited(None))

    assert known.out(TARGET) is None


def test_a_longer_rest_is_not_shortened(known, clock):
    known.failed(TARGET, limited(60))
    known.failed(TARGET, limited(1))

    clock.now += 30
    assert known.out(TARGET) is not None


def test_a_success_under_way_ends_no_rest(known):
    known.failed(TARGET, limited(60))
    known.succeeded(TARGET)

    assert known.out(TARGET) is not None


@pytest.mark.parametrize("kind", [errors.UpstreamAuthFailed, errors.UpstreamForbidden])
def test_a_refusal_takes_the_key_out_for_good_and_is_told(known, kind):
    known.failed(TARGET, kind(""))

    assert known.out(TARGET) == Out("key_refused", None, is_final=True)
    assert known.out(BESIDE) is not None
    assert [(each.place.key_id, each.reason) for each in known.incidents()] == [(7, "key_refused")]


def test_a_refusal_that_nobody_can_write_down_holds_on(known, clock):
    known.failed(TARGET, errors.UpstreamAuthFailed(""))
    for _ in range(10):
        clock.now += 30
        known.keep_out()

    assert known.out(TARGET) is not None


def test_a_refusal_says_nothing_of_another_secret(known, clock):
    known.failed(TARGET, errors.UpstreamAuthFailed(""))
    entered_at = datetime.fromtimestamp(clock.now + 1, UTC)

    assert known.out(replace(TARGET, terms=KeyTerms(entered_at=entered_at))) is None


def test_a_provider_without_keys_has_none_to_lose(known):
    target = make_target()
    known.failed(target, errors.UpstreamAuthFailed(""))

    assert (known.out(target), known.incidents()) == (None, [])


def test_a_403_for_one_model_leaves_a_key_that_works(known, clock):
    known.succeeded(BESIDE)
    known.failed(TARGET, errors.UpstreamForbidden(""))

    assert known.out(TARGET).reason == "model_not_permitted"
    assert known.out(BESIDE) is None
    assert known.incidents() == []
    clock.now += keys.NOT_PERMITTED_S + 1
    assert known.out(TARGET) is None


def test_a_403_of_something_on_the_way_leaves_the_key(known):
    error = errors.UpstreamForbidden("")
    error.is_in_its_words = False
    known.failed(TARGET, error)

    assert known.out(BESIDE) is None


def test_a_key_without_credit_is_tried_again_by_one_request(known, clock):
    known.failed(TARGET, errors.UpstreamOutOfCredit(""))
    assert known.out(TARGET).reason == "key_without_credit"
    assert [each.reason for each in known.incidents()] == ["key_without_credit"]

    clock.now += keys.WITHOUT_CREDIT_S + 1
    assert known.out(TARGET) is None
    known.begin(TARGET)
    assert known.out(TARGET) is not None

    known.succeeded(TARGET)
    assert known.out(TARGET) is None


def test_a_probe_that_fails_begins_the_rest_anew(known, clock):
    known.failed(TARGET, errors.UpstreamOutOfCredit(""))
    clock.now += keys.WITHOUT_CREDIT_S + 1
    known.begin(TARGET)
    known.failed(TARGET, errors.UpstreamOutOfCredit(""))

    assert known.out(TARGET).for_s == pytest.approx(keys.WITHOUT_CREDIT_S)


def test_one_that_the_configuration_has_out_is_out(known):
    target = replace(TARGET, terms=KeyTerms(out_reason="key_refused"))

    assert known.out(target) == Out("key_refused", None, is_final=True)


def test_the_part_that_is_left_of_a_quota_is_known_until_it_begins_anew(known, clock):
    known.learned(TARGET, remaining(250))

    assert known.quota_left(TARGET) == 0.25
    clock.now += 31
    assert known.quota_left(TARGET) == 1.0


def test_of_several_limits_the_smallest_part_counts(known):
    more = {"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "1"}
    known.learned(TARGET, remaining(250) | more)

    assert known.quota_left(TARGET) == 0.1


def test_a_quota_of_nothing_takes_the_key_out_until_it_begins_anew(known, clock):
    known.learned(TARGET, remaining(0, reset="6m0s"))

    assert known.out(TARGET) == Out("key_quota_used_up", pytest.approx(360), is_final=True)
    clock.now += 361
    assert known.out(TARGET) is None


def test_a_quota_is_of_one_upstream_model(known):
    known.learned(TARGET, remaining(0))

    assert (known.out(BESIDE), known.quota_left(BESIDE)) == (None, 1.0)


def test_the_pace_at_which_a_quota_is_used_is_known(known, clock):
    known.learned(TARGET, remaining(1000))
    for left in range(990, 400, -10):
        clock.now += 10
        known.learned(TARGET, remaining(left))

    gauge = known.board.gauges[Place(1, 7, TARGET.upstream_model)]
    assert gauge.meters["tokens"].pace == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    ("spent", "left", "out"), [(0, 1.0, None), (60, 0.4, None), (100, 0.0, "key_budget_used_up")]
)
def test_a_budget_that_is_used_up_takes_the_key_out(known, clock, spent, left, out):
    target = replace(TARGET, terms=KeyTerms(budget_nano=100))
    known.spent[7] = keys.Spent(target.terms, spent, clock.now + 99)

    assert known.quota_left(target) == pytest.approx(left)
    assert (known.out(target) and known.out(target).reason) == out


@pytest.mark.parametrize("changed", [{"budget_nano": 200}, {"budget_period": "day"}])
def test_a_budget_that_was_changed_meanwhile_is_looked_at_anew(known, clock, changed):
    known.spent[7] = keys.Spent(KeyTerms(budget_nano=100), 100, clock.now + 99)

    terms = KeyTerms(**{"budget_nano": 100} | changed)
    assert known.out(replace(TARGET, terms=terms)) is None


def test_names_of_models_that_clients_make_up_are_not_remembered_without_end(known, monkeypatch):
    monkeypatch.setattr("registry.key_health.MOST_ENTRIES", 10)
    for number in range(100):
        known.learned(make_target(upstream_model=f"made-up-{number}"), remaining(1))

    assert len(known.board.gauges) == 10


def test_a_meter_without_a_limit_says_nothing_of_a_part():
    assert keys.part_left(0.0, Meter(None, 5, None), 1.0) == 1.0
    assert Gauge(0.0, {}).meters == {}
