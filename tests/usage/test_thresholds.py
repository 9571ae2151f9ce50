"""Each percentage of a budget is told of once per window, whoever looks, and whenever."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.db import connection

from accounts.models import Plan
from tests import factories
from tests.factories import make_key, make_team, make_user, make_webhook, raise_budget
from tests.usage.series import id_at
from tests.usage.spools import make_record
from usage import thresholds
from usage.models import Alert, Delivery

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY, WEEK = timedelta(days=1), timedelta(days=7)


@pytest.fixture
def spend(own):
    """Let a key spend so many dollars at some moment."""

    def spend(key, dollars, at=NOON - timedelta(minutes=5)):
        own.record(
            make_record(
                request_id=id_at(at),
                key_id=key.pk,
                team_id=key.team_id,
                user_id=key.owner_id,
                cost_nano=int(Decimal(str(dollars)) * 10**9),
            )
        )
        own.ship()

    return spend


def make_budget(amount=100, **fields):
    return factories.make_budget(amount=amount, **fields)


def planned(team, plan, name="notebook"):
    """A key that has the plan."""
    key = make_key(team, name)
    key.plan = plan
    key.save()
    return key


def look(at=NOON):
    with time_machine.travel(at, tick=False):
        return thresholds.raise_passed()


def told(at=NOON):
    """The percentages that were told of just now."""
    return [alert.data["percent"] for alert in look(at)]


def test_nothing_is_told_below_the_first_percentage(key, spend):
    make_budget(key=key)
    spend(key, 49.99)

    assert told() == []


def test_a_percentage_is_told_of_when_it_is_reached(key, spend):
    make_budget(key=key)
    spend(key, 50)

    assert told() == [50]


def test_a_percentage_is_told_of_once(key, spend):
    make_budget(key=key)
    spend(key, 60)

    assert told() == [50]
    assert told() == []


def test_each_percentage_is_told_of_in_its_turn(key, spend):
    make_budget(key=key)
    turns = []
    for _ in range(6):
        spend(key, 20)
        turns += told()

    assert turns == [50, 80, 100]


def test_of_several_at_once_the_highest_is_told_of_and_no_lower_one_later(key, spend):
    make_budget(key=key)
    spend(key, 85)

    assert told() == [80]
    assert told() == []


def test_the_percentages_can_be_chosen(key, spend):
    make_budget(key=key, thresholds=[10, 150])
    spend(key, 12)

    assert told() == [10]


def test_without_percentages_nothing_is_told(key, spend):
    make_budget(key=key, thresholds=[])
    spend(key, 200)

    assert told() == []


def test_a_soft_budget_tells_as_well(key, spend):
    make_budget(key=key, hard=False)
    spend(key, 120)

    assert told() == [100]


def test_a_budget_of_nothing_tells_of_nothing(key, spend):
    make_budget(key=key, amount=0)
    spend(key, 1)

    assert told() == []


def test_it_says_who_used_how_much_of_what(key, spend):
    make_budget(key=key)
    spend(key, 83.5)

    [alert] = look()

    assert alert.text == (
        "Key notebook of team research has used 83 % of its monthly budget that began on "
        "2026-11-01: $83.50 of $100.00."
    )


def test_it_holds_the_figures_for_programs(key, spend):
    budget = make_budget(key=key)
    spend(key, 83.5)

    [alert] = look()

    assert alert.data == {
        "budget": budget.pk,
        "scope": f"key:{key.pk}",
        "name": "Key notebook of team research",
        "amount_usd": "100",
        "spent_usd": "83.5",
        "hard": True,
        "period": "month",
        "window_start": "2026-11-01T00:00:00Z",
        "window_end": "2026-12-01T00:00:00Z",
        "percent": 80,
    }


def test_what_a_whole_team_spends_counts_for_its_budget(team, spend):
    make_budget(team=team)
    for name in ("one", "other"):
        spend(make_key(team, name), 30)

    [alert] = look()

    assert (alert.data["percent"], alert.team) == (50, team)


def test_what_other_teams_spend_does_not_count(team, spend):
    make_budget(team=team)
    spend(make_key(make_team()), 100)

    assert told() == []


def test_a_person_s_budget_is_told_to_that_person(team, bob, spend, settings):
    settings.EMAIL_URL = "smtp://mail.example.com"
    make_budget(user=bob)
    spend(make_key(team, owner=bob), 90)

    assert told() == [80]
    assert Delivery.objects.get().email == "bob@example.com"


def test_a_plan_s_budget_is_told_of_once_for_each_key(team, spend):
    plan = Plan.objects.create(name="students")
    make_budget(plan=plan)
    for name in ("one", "two", "three"):
        spend(planned(team, plan, name), 60)

    assert told() == [50, 50, 50]
    assert told() == []


def test_keys_of_a_plan_count_each_for_itself(team, spend):
    plan = Plan.objects.create(name="students")
    make_budget(plan=plan)
    for name in ("one", "two"):
        spend(planned(team, plan, name), 40)

    assert told() == []


def test_a_key_s_own_budget_takes_the_place_of_its_plan_s(team, spend):
    plan = Plan.objects.create(name="students")
    make_budget(plan=plan)
    key = planned(team, plan)
    make_budget(1000, key=key)
    spend(key, 90)

    assert told() == []


def test_a_revoked_key_tells_of_nothing(key, spend):
    make_budget(key=key)
    spend(key, 90)
    key.revoked_at = NOON
    key.save()

    assert told() == []


def test_a_raise_counts_while_it_holds(key, spend):
    budget = make_budget(key=key)
    raise_budget(budget, 100, starts_at=NOON - DAY, ends_at=NOON + DAY)
    spend(key, 90)

    assert told() == []
    assert told(NOON + DAY) == [80]


def test_after_a_raise_no_lower_percentage_is_told_of_in_the_same_window(key, spend):
    budget = make_budget(key=key)
    spend(key, 85)
    assert told() == [80]

    budget.amount = 160
    budget.save()

    assert told() == []


def test_after_a_raise_higher_percentages_are_told_of(key, spend):
    budget = make_budget(key=key)
    spend(key, 85)
    assert told() == [80]
    budget.amount = 160
    budget.save()

    spend(key, 80)

    assert told() == [100]


def test_a_new_month_tells_anew(key, spend):
    make_budget(key=key)
    spend(key, 60)
    assert told() == [50]
    december = NOON + 10 * DAY

    spend(key, 60, at=december)

    assert told(december + timedelta(minutes=1)) == [50]


def test_what_was_spent_last_month_does_not_count(key, spend):
    make_budget(key=key)
    spend(key, 90, at=datetime(2026, 10, 31, 23, 59, tzinfo=UTC))

    assert told() == []


def test_a_percentage_that_the_last_requests_of_a_window_pass_is_told_of_after_its_end(key, spend):
    make_budget(key=key, period="day")
    midnight = datetime(2026, 11, 26, tzinfo=UTC)
    spend(key, 90, at=midnight - timedelta(seconds=1))

    assert told(midnight + timedelta(minutes=1)) == [80]
    assert told(midnight + timedelta(minutes=1)) == []


def test_a_window_that_ended_long_ago_is_not_told_of(key, spend):
    make_budget(key=key, period="day")
    midnight = datetime(2026, 11, 26, tzinfo=UTC)
    spend(key, 90, at=midnight - timedelta(seconds=1))

    assert told(midnight + timedelta(hours=1)) == []


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("Asia/Seoul", datetime(2026, 11, 25, 15, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 11, 26, 5, tzinfo=UTC)),
        ("Asia/Kolkata", datetime(2026, 11, 25, 18, 30, tzinfo=UTC)),
    ],
)
def test_days_begin_at_midnight_of_the_team(key, spend, zone, midnight):
    key.team.time_zone = zone
    key.team.save()
    make_budget(key=key, period="day")

    spend(key, 60, at=midnight - timedelta(minutes=1))
    assert told(midnight - timedelta(seconds=1)) == [50]
    spend(key, 60, at=midnight)
    assert told(midnight + timedelta(seconds=1)) == [50]


@pytest.mark.parametrize(
    ("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25)], ids=["spring", "autumn"]
)
def test_a_day_on_which_clocks_change_is_one_window(key, spend, day, hours):
    key.team.time_zone = "Europe/Berlin"
    key.team.save()
    make_budget(key=key, period="day")
    begin = datetime(*day, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    end = begin + timedelta(hours=hours)

    spend(key, 60, at=begin)
    assert told(begin + timedelta(seconds=1)) == [50]
    spend(key, 30, at=end - timedelta(seconds=2))
    assert told(end - timedelta(seconds=1)) == [80]
    assert told(end + timedelta(minutes=1)) == []


def test_another_time_zone_does_not_tell_the_same_again(key, spend):
    make_budget(key=key)
    spend(key, 60)
    assert told() == [50]

    key.team.time_zone = "Asia/Seoul"
    key.team.save()

    assert told() == []


def test_a_rolling_window_tells_of_what_is_in_it(key, spend):
    make_budget(key=key, period="week", window="rolling")
    spend(key, 60, at=NOON - 3 * DAY)

    assert told() == [50]
    assert told(NOON + timedelta(hours=1)) == []


def test_a_rolling_window_tells_again_after_its_length(key, spend):
    make_budget(key=key, period="day", window="rolling")
    spend(key, 60)
    assert told() == [50]
    later = NOON + DAY + timedelta(minutes=1)
    spend(key, 60, at=later - timedelta(minutes=1))

    assert told(later) == [50]
    assert told(later) == []


def test_a_budget_that_is_given_once_is_told_of_once(key, spend):
    make_budget(key=key, period="total")
    spend(key, 60, at=NOON - 100 * DAY)

    assert told() == [50]
    assert told(NOON + 100 * DAY) == []


def test_a_budget_that_counts_anew_tells_anew(key, spend):
    budget = make_budget(key=key, period="total")
    spend(key, 60)
    assert told() == [50]
    budget.counts_from = NOON
    budget.save()
    spend(key, 60, at=NOON + DAY)

    assert told(NOON + 2 * DAY) == [50]


@pytest.mark.django_db(transaction=True)
def test_of_workers_that_race_one_tells(key, spend):
    make_webhook()
    make_budget(key=key)
    spend(key, 85)
    barrier = threading.Barrier(3)
    alerts = []

    def work():
        barrier.wait()
        alerts.extend(thresholds.raise_passed())
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    with time_machine.travel(NOON, tick=True):
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    assert len(alerts) == Alert.objects.count() == Delivery.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_workers_that_race_over_a_rolling_window_one_tells(key, spend):
    make_budget(key=key, window="rolling")
    spend(key, 85)
    barrier = threading.Barrier(3)

    def work():
        barrier.wait()
        thresholds.raise_passed()
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    with time_machine.travel(NOON, tick=True):
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    assert Alert.objects.count() == 1


def test_many_budgets_cost_as_many_queries_as_few(spend, django_assert_max_num_queries):
    def make_budgets(number):
        for _ in range(number):
            make_budget(key=make_key(owner=make_user()))

    make_budgets(3)
    with django_assert_max_num_queries(20) as few:
        look()
    make_budgets(20)

    with django_assert_max_num_queries(len(few.captured_queries)):
        look()
