from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.policies import Circumstances, asks_for_budget, holds, narrow
from registry.policies import policy_of
from tests.gateway.targets import make_target

#: A Wednesday.
NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
USUAL = Circumstances(
    team="research",
    key="notebook",
    tags=["env:test", "project-x"],
    model_asked="small",
    model_served="vendor/tiny",
    endpoint="chat",
    input_tokens=100,
    needs=frozenset({"tools"}),
    moment=NOON,
)
BUDGET = {"budget_used_at_least": 0}
TARGETS = [make_target(number) for number in (1, 2, 3)]


def does_hold(when, **circumstances):
    policy = policy_of("p", when, {"last": True})
    return holds(policy.conditions, replace(USUAL, **circumstances))


def narrowed(*thens, targets=TARGETS, cost=lambda target: target.route_id * 10**9):
    policies = [policy_of(f"policy {n}", {}, then) for n, then in enumerate(thens)]
    return narrow(targets, policies, USUAL, cost)


def numbers(targets):
    return [target.route_id for target in targets]


@pytest.mark.parametrize(
    ("when", "is_met"),
    [
        ({}, True),
        ({"teams": ["research"]}, True),
        ({"teams": ["sales", "res*"]}, True),
        ({"teams": ["sales"]}, False),
        ({"keys": ["note*"]}, True),
        ({"keys": ["other"]}, False),
        ({"tags": ["project-x"]}, True),
        ({"tags": ["env:*"]}, True),
        ({"tags": ["env:live"]}, False),
        ({"models": ["small"]}, True),
        ({"models": ["vendor/*"]}, True),
        ({"models": ["large"]}, False),
        ({"endpoints": ["chat"]}, True),
        ({"endpoints": ["embeddings"]}, False),
        ({"input_tokens_at_least": 100}, True),
        ({"input_tokens_at_least": 101}, False),
        ({"input_tokens_at_most": 100}, True),
        ({"input_tokens_at_most": 99}, False),
        ({"needs": ["vision", "tools"]}, True),
        ({"needs": ["vision"]}, False),
        ({"teams": ["research"], "keys": ["other"]}, False),
    ],
)
def test_a_condition_is_met_or_not(when, is_met):
    assert does_hold(when) is is_met


@pytest.mark.parametrize(("used", "is_met"), [(None, False), (79.9, False), (80.0, True)])
def test_how_much_of_a_budget_is_used(used, is_met):
    assert does_hold({"budget_used_at_least": 80}, budget_used=used) is is_met


def test_of_a_budget_as_much_stays_used_as_was_ever_seen():
    seen = [USUAL]
    for used in (0.5, 90.0, 60.0):
        seen.append(seen[-1].at_budget(used))

    assert [each.budget_used for each in seen] == [None, 0.5, 90.0, 90.0]


@pytest.mark.parametrize(("whens", "asks"), [([], False), ([{}], False), ([{}, BUDGET], True)])
def test_policies_ask_for_a_budget_if_one_of_them_does(whens, asks):
    policies = [policy_of("p", when, {"last": True}) for when in whens]

    assert asks_for_budget(policies) is asks


@pytest.mark.parametrize(
    ("hours", "days", "zone", "moment", "is_met"),
    [
        ("09:00-17:00", [], "UTC", NOON, True),
        ("12:00-12:01", [], "UTC", NOON, True),
        ("09:00-12:00", [], "UTC", NOON, False),
        ("13:00-14:00", [], "Europe/Paris", NOON, True),
        ("22:00-06:00", [], "UTC", NOON.replace(hour=23), True),
        ("22:00-06:00", [], "UTC", NOON.replace(hour=5), True),
        ("22:00-06:00", [], "UTC", NOON.replace(hour=6), False),
        ("", ["wed"], "UTC", NOON, True),
        ("", ["thu"], "UTC", NOON, False),
        ("", ["thu"], "Pacific/Auckland", NOON, True),
        ("22:00-06:00", ["tue"], "UTC", NOON.replace(hour=5), True),
        ("22:00-06:00", ["wed"], "UTC", NOON.replace(hour=5), False),
        ("22:00-06:00", ["wed"], "UTC", NOON.replace(hour=23), True),
        ("22:00-06:00", ["sun"], "UTC", NOON.replace(day=23, hour=5), True),
        ("22:00-06:00", [], "UTC", NOON.replace(hour=5, minute=59), True),
        ("22:00-06:00", [], "UTC", NOON.replace(hour=21, minute=59), False),
        ("22:00-06:00", [], "UTC", NOON.replace(hour=22), True),
        ("22:01-06:00", [], "UTC", NOON.replace(hour=22), False),
        ("13:00-14:00", [], "UTC", NOON, False),
        ("09:00-17:00", ["wed"], "UTC", NOON, True),
        ("09:00-12:30", [], "UTC", NOON.replace(minute=29), True),
        ("09:00-12:30", [], "UTC", NOON.replace(minute=30), False),
        ("00:00-00:00", ["wed"], "UTC", NOON, True),
        ("06:00-06:00", ["tue"], "UTC", NOON.replace(hour=5), True),
        ("06:00-06:00", ["wed"], "UTC", NOON.replace(hour=6), True),
        ("02:00-03:00", [], "Europe/Paris", datetime(2026, 3, 29, 1, 30, tzinfo=UTC), False),
    ],
)
def test_the_time_of_day_and_the_night_of_a_day(hours, days, zone, moment, is_met):
    when = {"hours": hours, "days": days, "time_zone": zone}

    assert does_hold(when, moment=moment) is is_met


def test_a_pin_leaves_only_what_it_names():
    assert numbers(narrowed({"pin": ["provider-2"]}).targets) == [2]


def test_a_route_is_named_by_its_provider_and_upstream_model():
    assert numbers(narrowed({"exclude": ["provider-*/model-2"]}).targets) == [1, 3]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [("provider-2/model-2", [1, 3]), ("*/model-2", [1, 3]), ("provider-2/model-3", [1, 2, 3])],
)
def test_both_parts_of_a_routes_name_must_fit(pattern, left):
    assert numbers(narrowed({"exclude": [pattern]}).targets) == left


def test_one_of_several_names_is_enough():
    assert numbers(narrowed({"exclude": ["provider-1", "*/model-3"]}).targets) == [2]


def test_what_is_preferred_stays_beside_the_others():
    result = narrowed({"prefer": ["provider-3"]})

    assert numbers(result.targets) == [1, 2, 3]
    assert result.preferred == {TARGETS[2].id}


def test_a_cap_on_cost_leaves_what_is_cheap_enough():
    assert numbers(narrowed({"max_cost": "2"}).targets) == [1, 2]


def test_a_cap_on_cost_leaves_nothing_whose_cost_is_unknown():
    assert narrowed({"max_cost": "2"}, cost=lambda target: None).targets == []


def test_only_routes_certified_for_all_that_is_demanded_are_left():
    able = make_target(4, certified=frozenset({"tools", "vision"}))
    half = make_target(5, certified=frozenset({"tools"}))

    result = narrowed({"certified": ["tools", "vision"]}, targets=[able, half])

    assert numbers(result.targets) == [4]


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ({"pin": ["other"]}, "not_pinned"),
        ({"exclude": ["*"]}, "excluded"),
        ({"certified": ["tools"]}, "not_certified"),
        ({"max_cost": "0.5"}, "too_expensive"),
    ],
)
def test_each_action_has_a_reason_of_its_own(then, reason):
    assert [each.reason for each in narrowed(then).dropped] == [reason] * 3


def test_what_is_dropped_says_why_and_by_which_policy():
    result = narrowed({"exclude": ["provider-1"]}, {"pin": ["provider-3"]})

    assert [(d.target.route_id, d.reason, d.policy) for d in result.dropped] == [
        (1, "excluded", "policy 0"),
        (2, "not_pinned", "policy 1"),
    ]


def test_policies_act_one_after_the_other():
    result = narrowed({"exclude": ["provider-1"]}, {"exclude": ["provider-2"]})

    assert numbers(result.targets) == [3]
    assert result.held == ["policy 0", "policy 1"]


def test_after_the_last_no_other_is_looked_at():
    result = narrowed({"exclude": ["provider-1"], "last": True}, {"exclude": ["provider-2"]})

    assert numbers(result.targets) == [2, 3]
    assert result.held == ["policy 0"]


def test_a_policy_that_does_not_hold_does_nothing():
    policy = policy_of("p", {"teams": ["sales"]}, {"exclude": ["*"]})

    result = narrow(TARGETS, [policy], USUAL, lambda target: 1)

    assert (numbers(result.targets), result.held) == ([1, 2, 3], [])
