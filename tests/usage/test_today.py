"""Today is told up to the last request, whether it is in the sums yet or not."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.usage.spools import make_attempt, make_record
from tests.usage.summing import sum_up
from tests.usage.test_spending import record_at
from usage import today
from usage.today import Tried

# On PostgreSQL a roll-up sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


def ship(own, *records):
    own.record(*records)
    own.ship()


def requests():
    return sum(row["requests"] for row in today.so_far().rows)


def test_what_is_not_rolled_up_counts(own):
    ship(own, make_record(), make_record())

    assert requests() == 2


def test_what_is_rolled_up_counts_once(own):
    ship(own, make_record(), make_record())
    sum_up()

    assert requests() == 2


def test_what_comes_after_a_roll_up_is_added_to_it(own):
    ship(own, make_record())
    sum_up()
    ship(own, make_record())

    assert requests() == 2


def test_yesterday_is_left_out(own):
    ship(own, record_at(timezone.now() - timedelta(days=1)), make_record())
    sum_up()

    assert requests() == 1


def test_each_key_and_model_has_its_own_row(own):
    ship(own, make_record(key_name="a"), make_record(model_served="large"), make_record(key_id=2))

    assert sorted((row["key_id"], row["model"]) for row in today.so_far().rows) == [
        (1, "large"),
        (1, "small"),
        (2, "small"),
    ]


def test_nothing_is_wasted_where_nothing_was_tried():
    assert today.so_far().wasted_nano == 0


def test_an_attempt_counts_once_whether_it_is_rolled_up_or_not(own):
    ship(own, make_record(tries=[make_attempt(outcome="upstream_timeout", received=False)]))
    sum_up()
    ship(own, make_record(tries=[make_attempt(), make_attempt(provider_name="other")]))

    assert today.so_far().tried == {"local": Tried(2, 1, 20_000), "other": Tried(1, 0, 0)}
