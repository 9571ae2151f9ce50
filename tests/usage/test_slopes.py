"""Hours that cost many times the usual one: series with a known answer."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import connection

from tests.factories import make_key
from usage import slopes
from usage.models import Alert, HourlyUsage
from usage.slopes import usual_nano

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DOLLAR = 10**9


def spend(key, *dollars, until=NOON):
    """So many dollars in each of the hours before a moment, the last one last."""
    for n, cost in enumerate(dollars):
        HourlyUsage.objects.create(
            hour=until - (len(dollars) - n) * HOUR,
            key_id=key.pk,
            team_id=key.team_id,
            model="small",
            cost_nano=int(cost * DOLLAR),
        )


def look(at=NOON + timedelta(minutes=5)):
    with time_machine.travel(at, tick=False):
        return slopes.raise_unusual()


def told(at=NOON + timedelta(minutes=5)):
    """Whom it was told of just now."""
    return [alert.data["scope"] for alert in look(at)]


def both(key):
    return [f"key:{key.pk}", f"team:{key.team_id}"]


def test_an_hour_of_eight_times_the_usual_is_told_of_for_key_and_team(key):
    spend(key, *[1] * 48, 8)

    assert told() == both(key)


def test_an_hour_of_a_little_less_is_not(key):
    spend(key, *[1] * 48, 7.99)

    assert told() == []


def test_it_says_how_much_is_how_unusual(key):
    spend(key, *[1] * 48, 12)

    assert look()[0].text == (
        "Key notebook of team research spent $12.00 from 11:00 to 12:00 UTC, "
        "12 times the usual $1.00 an hour."
    )


def test_it_holds_the_figures_for_programs(key):
    spend(key, *[1] * 48, 12)

    assert look()[0].data == {
        "scope": f"key:{key.pk}",
        "name": "Key notebook of team research",
        "hour": "2026-11-15T11:00:00Z",
        "spent_usd": "12",
        "usual_usd": "1",
    }


def test_pennies_do_not_shout(key):
    spend(key, *[0.001] * 48, 0.99)

    assert told() == []


def test_factor_and_minimum_can_be_chosen(key, settings):
    settings.COURIER_SLOPE_FACTOR, settings.COURIER_SLOPE_MINIMUM = 3, 0.01
    spend(key, *[0.01] * 48, 0.04)

    assert told() == both(key)


def test_whoever_is_new_has_no_usual_hour(key):
    spend(key, *[1] * 11, 100)

    assert told() == []


def test_nights_do_not_make_mornings_unusual(key):
    spend(key, *([2] * 8 + [0] * 16) * 5, 2.5)

    assert told() == []


def test_one_wild_hour_does_not_make_the_next_usual(key):
    spend(key, *[1] * 48, 500, 9)

    assert told() == both(key)


def test_hours_of_more_than_two_weeks_ago_do_not_count(key):
    spend(key, *[0.01] * 48, until=NOON - timedelta(days=15))
    spend(key, *[1] * 48, 7)

    assert told() == []


def test_an_hour_that_is_not_over_is_not_looked_at(key):
    spend(key, *[1] * 48, 100, until=NOON + HOUR)

    assert told() == []


def test_it_is_told_of_once_a_day(key):
    spend(key, *[1] * 48, 20)
    assert told() == both(key)
    spend(key, 20, until=NOON + HOUR)

    assert told() == []
    assert told(NOON + HOUR) == []


def test_a_day_later_it_is_told_of_again(key):
    spend(key, *[1] * 48, 20)
    assert told() == both(key)
    later = NOON + timedelta(hours=25)
    spend(key, 20, until=later)

    assert told(later + timedelta(minutes=5)) == both(key)


def test_what_one_key_does_is_not_told_of_another(team):
    wild, calm = make_key(team, "wild"), make_key(team, "calm")
    spend(wild, *[0.1] * 48, 5)
    spend(calm, *[10] * 49)

    assert told() == [f"key:{wild.pk}"]


@pytest.mark.parametrize(
    ("spent", "usual"),
    [
        ([2] * 12, 2),
        ([1] * 7 + [100] * 6, 1),
        ([0] * 100 + [3] * 12, 3),
        ([4] * 11, None),
        ([], None),
    ],
)
def test_the_usual_hour_is_the_median_of_those_with_spending(spent, usual):
    hours = {NOON - n * HOUR: nano for n, nano in enumerate(spent)}

    assert usual_nano(hours) == usual


@pytest.mark.django_db(transaction=True)
def test_of_workers_that_race_one_tells(key):
    spend(key, *[1] * 48, 20)
    barrier = threading.Barrier(3)

    def work():
        barrier.wait()
        slopes.raise_unusual()
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    with time_machine.travel(NOON + timedelta(minutes=5), tick=True):
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    assert Alert.objects.count() == 2
