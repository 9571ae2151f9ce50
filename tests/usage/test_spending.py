"""What was spent is what the log says, wherever the answer comes from."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from lib.ids import lowest_at, uuid7
from tests.usage.spools import make_record
from tests.usage.summing import sum_up
from usage import spending
from usage.models import StaleHour, UsageAdjustment, UsageRecord
from usage.records import Attempt
from usage.spending import Wanted

# On PostgreSQL a roll-up sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def record_at(moment, **fields):
    unique = uuid7().int & (1 << 62) - 1
    return make_record(request_id=UUID(int=lowest_at(moment).int | unique), **fields)


def ship_at(own, *moments, **fields):
    own.record(*(record_at(moment, **fields) for moment in moments))
    own.ship()


def adjust(record, cost_nano):
    UsageAdjustment.objects.create(
        identity=f"manual:{record.request_id}",
        request_id=record.request_id,
        started_at=record.started_at,
        reason="manual",
        key_id=record.key_id,
        key_name=record.key_name,
        team_id=record.team_id,
        team_name=record.team_name,
        model=record.model_served,
        cost_nano=cost_nano,
    )
    StaleHour.objects.create(hour=record.started_at.replace(minute=0, second=0, microsecond=0))


def test_nothing_was_spent_where_there_is_nothing():
    assert spending.spent_nano("key:1", NOON, NOON + DAY) == 0


def test_what_is_not_rolled_up_yet_counts(own):
    ship_at(own, NOON, cost_nano=5)

    assert spending.spent_nano("key:1", NOON - DAY, NOON + DAY) == 5


def test_what_is_rolled_up_counts_once(own):
    ship_at(own, NOON, cost_nano=5)
    sum_up()

    assert spending.spent_nano("key:1", NOON - DAY, NOON + DAY) == 5


def test_what_comes_after_a_roll_up_is_added_to_it(own):
    ship_at(own, NOON, cost_nano=5)
    sum_up()
    ship_at(own, NOON, NOON + 2 * HOUR, cost_nano=7)

    assert spending.spent_nano("key:1", NOON - 3 * DAY, NOON + DAY) == 19


@pytest.mark.parametrize("rolled_up", [True, False])
def test_a_span_begins_with_its_start_and_stops_before_its_end(own, rolled_up):
    ship_at(own, NOON, NOON + timedelta(minutes=90), cost_nano=1)
    if rolled_up:
        sum_up()

    assert spending.spent_nano("key:1", NOON, NOON + timedelta(minutes=90)) == 1


def test_a_day_of_a_zone_with_half_an_hour_is_exact(own):
    kolkata = ZoneInfo("Asia/Kolkata")
    midnight = datetime(2026, 11, 16, tzinfo=kolkata)
    second = timedelta(milliseconds=1)
    ship_at(own, midnight - second, midnight, midnight + DAY - second, midnight + DAY, cost_nano=1)
    sum_up()

    assert spending.spent_nano("key:1", midnight, midnight + DAY) == 2


def test_a_correction_counts_at_the_time_of_its_request(own):
    record = record_at(NOON, cost_nano=50)
    own.record(record)
    own.ship()
    sum_up()
    adjust(record, -20)

    before = spending.spent_nano("key:1", NOON, NOON + HOUR)
    sum_up()

    assert before == spending.spent_nano("key:1", NOON, NOON + HOUR) == 30


def test_an_unknown_cost_adds_nothing(own):
    ship_at(own, NOON, cost_nano=None)

    assert spending.spent_nano("key:1", NOON, NOON + HOUR) == 0


@pytest.mark.parametrize(
    ("scope", "spent"), [("key:1", 3), ("key:2", 4), ("team:1", 7), ("user:9", 4), ("user:1", 0)]
)
def test_each_kind_of_scope_has_its_own_sum(own, scope, spent):
    ship_at(own, NOON, cost_nano=3)
    ship_at(own, NOON, cost_nano=4, key_id=2, user_id=9)
    sum_up()

    assert spending.spent_nano(scope, NOON, NOON + HOUR) == spent


def test_many_scopes_are_asked_at_once(own):
    ship_at(own, NOON, cost_nano=3)
    ship_at(own, NOON, cost_nano=4, key_id=2)

    spent = spending.spent_by_all(["key:1", "key:2", "key:3", "team:1"], NOON, NOON + HOUR)

    assert spent == {"key:1": 3, "key:2": 4, "key:3": 0, "team:1": 7}


def test_slots_are_counted_from_the_start_and_the_last_may_be_short(own):
    ship_at(own, NOON, NOON + timedelta(minutes=40), NOON + timedelta(minutes=90), cost_nano=1)

    slots = spending.spent_by_slot(["key:1"], NOON, NOON + timedelta(minutes=100), 40 * 60)

    assert slots == {"key:1": [1, 1, 1]}


def test_an_unknown_kind_of_scope_is_refused():
    with pytest.raises(ValueError, match="scope"):
        spending.spent_nano("org:1", NOON, NOON + HOUR)


def logged(key_id, start, end):
    """The same from the log alone."""
    records = UsageRecord.objects.since(start).before(end).filter(key_id=key_id)
    return sum(records.values_list("cost_nano", flat=True))


@pytest.mark.parametrize("seed", range(3))
def test_any_span_in_any_state_of_the_sums_is_exact(own, seed):
    chance = random.Random(seed)

    def some_time():
        return NOON + timedelta(milliseconds=chance.randrange(5 * 24 * 3600 * 1000))

    for _ in range(4):
        ship_at(own, *(some_time() for _ in range(40)), cost_nano=chance.randrange(100))
        if chance.random() < 0.6:
            sum_up()
        start, end = sorted([some_time(), some_time()])

        slots = spending.spent_by_slot(["key:1"], start, end, chance.choice([900, 3600, 50_000]))

        assert (
            sum(slots["key:1"]) == spending.spent_nano("key:1", start, end) == logged(1, start, end)
        )


@pytest.mark.parametrize("seed", range(3))
def test_what_each_spent_in_its_own_time_is_told_at_once(own, seed, django_assert_max_num_queries):
    chance = random.Random(seed)

    def some_time():
        return NOON + timedelta(milliseconds=chance.randrange(5 * 24 * 3600 * 1000))

    def some_span():
        return sorted([some_time(), some_time()])

    shared = some_span()
    wanted = [Wanted(f"key:{key_id}", *span) for key_id in (1, 2) for span in (shared, some_span())]
    wanted.append(Wanted("team:1", *some_span()))
    for key_id in (1, 2, 3):
        moments = (some_time() for _ in range(40))
        ship_at(own, *moments, cost_nano=chance.randrange(1, 100), key_id=key_id)
        if chance.random() < 0.6:
            sum_up()

    with django_assert_max_num_queries(8):
        spent = spending.spent_in(wanted)

    assert spent == {each: spending.spent_nano(*each) for each in wanted}
    assert any(spent.values())


def test_an_upstream_key_has_spent_what_its_provider_charges_for_attempts(own):
    def attempt(upstream_key_id, cost_nano):
        return Attempt(
            *(NOON, "alpha", "tiny", "ok"), upstream_key_id=upstream_key_id, cost_nano=cost_nano
        )

    ship_at(own, NOON, cost_nano=1000, tries=[attempt(7, 10), attempt(8, 99), attempt(7, 5)])
    ship_at(own, NOON - 40 * DAY, tries=[attempt(7, 1)])

    assert spending.spent_nano("upstream:7", NOON - HOUR, NOON + HOUR) == 15
    assert spending.spent_nano("upstream:7", NOON - 60 * DAY, NOON + HOUR) == 16
    assert spending.spent_nano("upstream:9", NOON - HOUR, NOON + HOUR) == 0
