"""What holds for a key that has a plan."""

import pytest

from accounts import plans
from accounts.models import ApiKey, Budget, Plan
from tests.factories import make_key, make_limit

pytestmark = pytest.mark.django_db


@pytest.fixture
def plan():
    return Plan.objects.create(name="standard")


@pytest.fixture
def key(plan):
    key = make_key()
    ApiKey.objects.filter(pk=key.pk).update(plan=plan)
    return ApiKey.objects.get(pk=key.pk)


def amounts(rows):
    return sorted(row.amount for row in rows)


def test_the_limits_of_the_plan_hold_where_the_key_has_none(key, plan):
    make_limit(plan=plan, amount=60)
    assert amounts(plans.limits_of(key)) == [60]


def test_a_limit_of_its_own_replaces_the_plan_s_even_if_it_is_larger(key, plan):
    make_limit(plan=plan, amount=60)
    make_limit(key=key, amount=600)
    assert amounts(plans.limits_of(key)) == [600]


@pytest.mark.parametrize("other", [{"metric": "tokens"}, {"window_s": 1}, {"model": "gpt-4o"}])
def test_a_limit_of_another_kind_replaces_nothing(key, plan, other):
    make_limit(plan=plan, amount=60)
    make_limit(key=key, **{"amount": 600, **other})
    assert amounts(plans.limits_of(key)) == [60, 600]


def test_a_budget_of_its_own_replaces_the_plan_s(key, plan):
    Budget.objects.create(plan=plan, amount=5)
    Budget.objects.create(key=key, amount=50)
    assert amounts(plans.budgets_of(key)) == [50]


@pytest.mark.parametrize("other", [{"period": "day"}, {"window": "rolling"}])
def test_a_budget_of_another_kind_replaces_nothing(key, plan, other):
    Budget.objects.create(plan=plan, amount=5)
    Budget.objects.create(key=key, amount=50, **other)
    assert amounts(plans.budgets_of(key)) == [5, 50]


def test_a_key_without_a_plan_has_its_own(key):
    other = make_key()
    make_limit(key=other, amount=7)
    assert amounts(plans.limits_of(other)) == [7]
