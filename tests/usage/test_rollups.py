"""Hours and days are exactly the sums of their records, corrections and attempts."""

import threading
from datetime import UTC, date, datetime

import pytest
from django.db import connection

from tests.services import wait_for
from tests.usage.spools import make_record, record_on
from tests.usage.summing import sum_up
from usage import tasks
from usage.models import DailyUsage, HourlyUsage, UsageRecord

# On PostgreSQL a roll-up sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

MONDAY, TUESDAY = date(2026, 11, 16), date(2026, 11, 17)
SUMMED = (
    "requests",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano",
)


def ship(own, *records):
    own.record(*records)
    own.ship()


def test_a_day_is_the_sum_of_its_records(own):
    ship(
        own,
        record_on(MONDAY, input_tokens=10, cached_input_tokens=4, output_tokens=5, cost_nano=100),
        record_on(MONDAY, input_tokens=20, cache_write_tokens=3, reasoning_tokens=2, cost_nano=1),
    )

    assert sum_up() == 1

    day = DailyUsage.objects.values(*SUMMED).get()
    assert day == {
        "requests": 2,
        "input_tokens": 30,
        "cached_input_tokens": 4,
        "cache_write_tokens": 3,
        "output_tokens": 10,
        "reasoning_tokens": 2,
        "cost_nano": 101,
    }


def test_errors_estimates_and_unknown_costs_are_counted(own):
    ship(
        own,
        record_on(MONDAY),
        record_on(MONDAY, outcome="client_disconnected", usage_source="estimated"),
        record_on(MONDAY, outcome="upstream_timeout", cost_nano=None),
    )

    sum_up()

    day = DailyUsage.objects.get()
    assert (day.errors, day.estimated, day.unpriced) == (1, 1, 1)


def test_a_day_whose_costs_are_all_unknown_has_none(own):
    ship(own, record_on(MONDAY, cost_nano=None))

    sum_up()

    assert DailyUsage.objects.get().cost_nano == 0


@pytest.mark.parametrize(
    "other",
    [{"key_id": 2}, {"team_id": 2}, {"model_served": "large"}, {"provider_name": "backup"}],
)
def test_keys_teams_models_and_providers_are_summed_apart(own, other):
    ship(own, record_on(MONDAY), record_on(MONDAY, **other))

    sum_up()

    assert list(DailyUsage.objects.values_list("requests", flat=True)) == [1, 1]


def test_days_are_summed_apart_and_end_at_midnight_utc(own):
    ship(own, record_on(MONDAY), record_on(TUESDAY), record_on(TUESDAY))

    sum_up()

    assert dict(DailyUsage.objects.values_list("day", "requests")) == {MONDAY: 1, TUESDAY: 2}


def test_a_request_without_a_served_model_counts_for_the_one_it_asked_for(own):
    ship(own, record_on(MONDAY, model_asked="nothing", model_served=""))

    sum_up()

    assert DailyUsage.objects.get().model == "nothing"


def test_a_key_that_was_renamed_during_the_day_stays_one(own):
    ship(own, record_on(MONDAY, key_name="new"), record_on(MONDAY, key_name="old"))

    sum_up()

    assert DailyUsage.objects.get().requests == 2


def test_a_late_record_is_counted_once(own):
    ship(own, record_on(MONDAY))
    sum_up()
    ship(own, record_on(MONDAY))

    sum_up()

    assert DailyUsage.objects.get().requests == 2


def test_only_days_with_new_records_are_summed_anew(own):
    ship(own, record_on(MONDAY))
    sum_up()
    # A change that a new sum would undo.
    DailyUsage.objects.update(requests=99)
    ship(own, record_on(TUESDAY))

    assert sum_up() == 1

    assert DailyUsage.objects.get(day=MONDAY).requests == 99


def test_nothing_new_is_nothing_to_do():
    assert sum_up() == 0


def test_a_roll_up_that_fails_leaves_all_as_it_was(own):
    ship(own, record_on(MONDAY))

    def fail_at_tags(execute, sql, *rest):
        if sql.startswith("INSERT INTO usage_hourlytagusage"):
            raise ConnectionError
        return execute(sql, *rest)

    with connection.execute_wrapper(fail_at_tags), pytest.raises(ConnectionError):
        sum_up()

    assert not HourlyUsage.objects.exists()
    assert sum_up() == 1


def test_the_task_rolls_up(own):
    ship(own, record_on(MONDAY))

    wait_for(lambda: tasks.roll_up() or DailyUsage.objects.exists(), "the roll-ups")

    assert DailyUsage.objects.get().requests == 1


def exact_sums():
    """The sums of all records, and of all days."""
    records = UsageRecord.objects.totals()
    days = {name: sum(DailyUsage.objects.values_list(name, flat=True)) for name in records}
    return records, days


def test_sums_are_exact_while_records_arrive_and_several_workers_race(own):
    start, wanted = threading.Barrier(4), 40

    def work():
        start.wait()
        for _ in range(20):
            sum_up()
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    start.wait()
    for number in range(wanted):
        day = MONDAY if number % 3 else TUESDAY
        ship(own, record_on(day, outcome="ok" if number % 5 else "bad", key_id=number % 4))
    for worker in workers:
        worker.join()
    sum_up()

    records, days = exact_sums()
    assert records == days
    assert records["requests"] == wanted


def test_the_records_of_a_day_are_found_by_their_ids(own):
    noon = datetime(2026, 11, 16, 12, tzinfo=UTC)
    ship(own, record_on(MONDAY), make_record())

    assert UsageRecord.objects.on(MONDAY).count() == 1
    assert UsageRecord.objects.before(noon).count() == 1
    assert UsageRecord.objects.since(noon).count() == 1
