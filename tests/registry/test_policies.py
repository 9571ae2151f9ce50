import pytest

from registry.models import RoutingPolicy
from registry.policies import complaints, policy_of

FINE = {"exclude": ["alpha"]}


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"team": ["x"]}, "team: Extra inputs are not permitted."),
        ({"teams": "x"}, "teams: "),
        ({"needs": ["legs"]}, "needs: These are some of: tools"),
        ({"hours": "9-17"}, "hours: Write hours as 22:00-06:00."),
        ({"hours": "25:00-26:00"}, "hours: Write hours as 22:00-06:00."),
        ({"days": ["monday"]}, "days: "),
        ({"time_zone": "Mars"}, "time_zone: Write a time zone such as Europe/Paris."),
        ({"input_tokens_at_least": -1}, "input_tokens_at_least: "),
        ({"input_tokens_at_least": "7"}, "input_tokens_at_least: "),
        ([], "Input should be"),
    ],
)
def test_a_condition_that_is_none_is_complained_of_by_its_name(conditions, said):
    (found,) = complaints(conditions, FINE)["conditions"]

    assert found.startswith(said)


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        ({}, "A policy needs an action."),
        ({"max_cost": "-1"}, "max_cost: "),
        ({"certified": ["legs"]}, "certified: These are some of: "),
        ({"drop": ["x"]}, "drop: Extra inputs are not permitted."),
    ],
)
def test_an_action_that_is_none_is_complained_of_by_its_name(actions, said):
    (found,) = complaints({}, actions)["actions"]

    assert found.startswith(said)


def test_what_will_do_is_not_complained_of():
    assert complaints({"teams": ["a*"], "hours": "22:00-06:00"}, {"max_cost": "0.05"}) == {}


def test_a_cost_is_exact_in_nano_dollars():
    assert policy_of("p", {}, {"max_cost": "0.000000001"}).actions.max_cost_nano == 1


def test_a_policy_with_mistakes_is_not_valid(db):
    with pytest.raises(Exception, match="Extra inputs"):
        RoutingPolicy(name="p", conditions={"legs": 4}, actions=FINE).full_clean()
