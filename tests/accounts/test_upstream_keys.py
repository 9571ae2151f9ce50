"""The terms of an upstream key as rules: what is counted where, and for how long."""

import pytest

from accounts.upstream_keys import budget_of, every_budget, rules_of
from registry.key_terms import KeyTerms
from tests.factories import make_provider, make_upstream_key

ALL = KeyTerms(requests_per_minute=5, tokens_per_minute=6, concurrency=7)


def test_each_limit_is_the_keys_own_and_of_a_minute():
    limits = rules_of(3, ALL).limits

    assert {limit.metric: limit.amount for limit in limits} == {
        "requests": 5,
        "tokens": 6,
        "concurrency": 7,
    }
    assert {(limit.scope, limit.window_s) for limit in limits} == {("upstream:3", 60)}


def test_what_is_not_limited_is_not_counted():
    assert rules_of(3, KeyTerms(concurrency=7)).limits == rules_of(3, ALL).limits[2:]
    assert rules_of(3, KeyTerms()).budgets == ()


def test_rules_are_made_once():
    assert rules_of(3, ALL) is rules_of(3, KeyTerms(5, 6, 7))


def test_a_budget_is_hard_and_counts_all_of_its_period_in_utc():
    budget = budget_of(3, KeyTerms(budget_nano=9, budget_period="day"))

    assert (budget.amount_nano, budget.hard, budget.scope) == (9, True, "upstream:3")
    assert (budget.period, budget.time_zone, budget.counts_from_us) == ("day", "UTC", 0)
    assert rules_of(3, KeyTerms(budget_nano=9, budget_period="day")).budgets == (budget,)


def test_a_budget_of_nothing_is_a_budget():
    assert budget_of(3, KeyTerms(budget_nano=0)).amount_nano == 0


def test_another_key_and_another_period_are_counted_elsewhere():
    places = {
        budget_of(key, KeyTerms(budget_nano=9, budget_period=period)).place
        for key in (3, 4)
        for period in ("day", "month", "total")
    }

    assert len(places) == 6


@pytest.mark.django_db
def test_every_budget_is_that_of_each_key_which_has_one():
    provider = make_provider()
    make_upstream_key(provider, name="free")
    keys = [make_upstream_key(provider, name=name, budget=5) for name in ("one", "two")]

    assert [budget.id for budget in every_budget()] == [key.pk for key in keys]
