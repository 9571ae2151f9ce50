"""Raises of budgets for a while."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts import raises
from accounts.models import Budget
from registry.models import Revision
from tests.factories import make_team, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def budget():
    return Budget.objects.create(team=make_team(), amount=100)


def grant(budget, amount=50, hours=1):
    until = timezone.now() + timedelta(hours=hours)
    return raises.grant(budget, Decimal(amount), until, "a launch", make_user())


def test_a_raise_adds_to_the_amount_until_it_ends(budget):
    raised = grant(budget)
    assert raises.amount_at(budget, timezone.now()) == 150
    assert raises.amount_at(budget, raised.ends_at) == 100


def test_raises_add_up(budget):
    grant(budget, 50)
    grant(budget, 25)
    assert raises.amount_at(budget, timezone.now()) == 175


def test_a_raise_reaches_every_process(budget):
    before = Revision.objects.get().number
    grant(budget)
    assert Revision.objects.get().number > before


def test_a_raise_that_has_ended_stays_as_history(budget):
    grant(budget)
    raises.end(budget)
    assert raises.amount_at(budget, timezone.now()) == 100
    assert budget.raises.get().reason == "a launch"


def test_a_raise_cannot_end_in_the_past(budget):
    with pytest.raises(ValueError, match="has passed"):
        grant(budget, hours=-1)


def test_a_budget_is_not_raised_beyond_what_can_be_counted(budget):
    with pytest.raises(ValueError, match="at most"):
        grant(budget, 8_999_901)
    assert not budget.raises.exists()
