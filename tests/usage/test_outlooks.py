"""The lists of keys and teams say when their budgets will be used up."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import Permission

from accounts.models import Plan
from tests.factories import make_admin, make_budget, make_key, make_team, make_user
from tests.usage.series import spend_hourly
from usage import outlooks

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _clock():
    with time_machine.travel(NOON, tick=True):
        yield


@pytest.fixture
def admin(client):
    client.force_login(make_admin())
    return client


def runs_out(*rows):
    return {pk: outlook.runs_out for pk, outlook in outlooks.of(rows).items()}


def test_a_key_without_a_budget_has_no_outlook(key):
    assert runs_out(key) == {}


def test_no_rows_have_no_outlook():
    assert runs_out() == {}


def test_of_two_budgets_the_one_that_runs_out_first_counts(key, own):
    make_budget(key=key, amount=100, period="month")
    make_budget(key=key, amount=10_000, period="total")
    spend_hourly(own, key, *[1] * 60, until=NOON)

    assert runs_out(key) == {key.pk: "2026-11-17 04:00 UTC"}


def test_a_budget_that_is_used_up_comes_before_one_that_will_be(key, own):
    make_budget(key=key, amount=100, period="month")
    make_budget(key=key, amount=1, period="day")
    spend_hourly(own, key, *[1] * 60, until=NOON)

    assert runs_out(key) == {key.pk: "used up"}


def test_a_budget_that_is_used_up_comes_first_even_where_nothing_can_be_foreseen(key, own):
    make_budget(key=key, amount=0, period="total", counts_from=NOON)
    make_budget(key=key, amount=5, period="month")
    spend_hourly(own, key, 4, until=NOON)

    assert runs_out(key) == {key.pk: "used up"}


def test_a_key_has_the_outlook_of_its_plan(key, own):
    key.plan = Plan.objects.create(name="students")
    key.save()
    make_budget(plan=key.plan, amount=100)
    spend_hourly(own, key, *[1] * 60, until=NOON)

    assert runs_out(key) == {key.pk: "2026-11-17 04:00 UTC"}


def test_a_key_has_not_the_outlook_of_its_team(key, own):
    make_budget(team=key.team, amount=100)
    spend_hourly(own, key, *[1] * 60, until=NOON)

    assert runs_out(key) == {}
    assert runs_out(key.team) == {key.team.pk: "2026-11-17 04:00 UTC"}


def test_a_steady_budget_is_not_short(key, own):
    make_budget(key=key, amount=10_000)
    spend_hourly(own, key, *[1] * 60, until=NOON)

    [outlook] = outlooks.of([key]).values()
    assert (outlook.runs_out, outlook.is_short) == ("not foreseen", False)


@pytest.mark.parametrize("page", ["apikey", "team"])
def test_the_list_says_when_a_budget_runs_out(admin, key, own, page):
    make_budget(key=key, amount=100)
    make_budget(team=key.team, amount=100)
    spend_hourly(own, key, *[1] * 60, until=NOON)

    shown = admin.get(f"/admin/accounts/{page}/").content.decode()

    assert "2026-11-17 04:00 UTC" in shown
    assert "$60.00 of $100.00" in shown


def test_whoever_may_not_see_usage_does_not_see_what_is_left(client, key, own):
    make_budget(key=key, amount=100)
    spend_hourly(own, key, *[1] * 60, until=NOON)
    viewer = make_user(is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_apikey"))
    client.force_login(viewer)

    shown = client.get("/admin/accounts/apikey/").content.decode()

    assert key.name in shown
    assert "2026-11-17" not in shown
    assert "runs out" not in shown


@pytest.mark.parametrize("period", ["month", "total"])
def test_a_list_costs_as_many_queries_for_twenty_budgets_of_times_of_their_own_as_for_one(
    admin, own, django_assert_max_num_queries, django_assert_num_queries, period
):
    zones = itertools.cycle(["UTC", "Asia/Tokyo", "America/New_York"])

    def make_keys(number):
        for each in range(number):
            team = make_team()
            team.time_zone = next(zones)
            team.save()
            key = make_key(team)
            counts_from = NOON - timedelta(hours=number, minutes=each)
            make_budget(key=key, amount=100, period=period, counts_from=counts_from)
            spend_hourly(own, key, 1, until=NOON)

    make_keys(1)
    with django_assert_max_num_queries(16) as few:
        admin.get("/admin/accounts/apikey/")
    make_keys(19)

    with django_assert_num_queries(len(few.captured_queries)):
        shown = admin.get("/admin/accounts/apikey/").text
    assert shown.count("$1.00 of $100.00") == 20
