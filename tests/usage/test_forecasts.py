"""When budgets run out: series of hours with a known answer."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from tests.factories import make_budget, make_key
from tests.usage.series import series as hourly
from tests.usage.series import spend_hourly
from usage import forecasts
from usage.forecasts import pace_of, used_up_at, used_up_while_rolling
from usage.models import Alert
from usage.standings import standings

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def series(*nano):
    return hourly(*nano, until=NOON)


def test_the_pace_of_a_steady_series_is_what_each_hour_costs():
    assert pace_of(series(*[7] * 336), FIRST, NOON) == 7


def test_the_pace_is_the_mean_of_the_last_day_and_of_the_window_so_far():
    hours = series(*[2] * 312, *[10] * 24)
    of_the_window = (312 * 2 + 24 * 10) / 336

    assert pace_of(hours, NOON - 336 * HOUR, NOON) == pytest.approx((10 + of_the_window) / 2)


def test_quiet_hours_count():
    assert pace_of(series(*[12, 0, 0, 0] * 84), FIRST, NOON) == pytest.approx(3)


def test_an_hour_that_has_begun_counts_as_far_as_it_has_come():
    hours = {**series(*[6] * 24), NOON: 3}

    assert pace_of(hours, NOON - DAY, NOON + HOUR / 2) == pytest.approx(6)


def test_what_was_before_the_first_spending_is_not_taken_for_quiet():
    assert pace_of(series(*[0] * 200, *[5] * 10), FIRST, NOON) == 5


def test_a_window_that_has_just_begun_goes_by_the_day_before():
    assert pace_of(series(*[4] * 48), NOON - HOUR, NOON) == 4


@pytest.mark.parametrize("hours", [{}, series(*[9] * 5), series(*[0] * 100)])
def test_with_too_little_to_go_by_there_is_no_pace(hours):
    assert pace_of(hours, FIRST, NOON) is None


def test_what_is_left_is_used_up_at_the_pace():
    assert used_up_at(100, 4.0, NOON) == NOON + 25 * HOUR


def test_what_is_used_up_is_so_now():
    assert used_up_at(0, 4.0, NOON) == NOON


@pytest.mark.parametrize("pace", [0.0, -1.0, 0.001])
def test_without_a_pace_that_matters_nothing_is_used_up(pace):
    assert used_up_at(100, pace, NOON) is None


def test_a_rolling_window_in_balance_is_never_full():
    assert used_up_while_rolling(25 * 5, 5.0, series(*[5] * 48), DAY, NOON) is None


def test_a_rolling_window_fills_at_the_pace_as_long_as_nothing_leaves_it():
    hours = series(*[5] * 6)

    assert used_up_while_rolling(60, 5.0, hours, DAY, NOON) == NOON + 6 * HOUR


def test_what_leaves_a_rolling_window_makes_room():
    hours = series(20, *[0] * 23)

    assert used_up_while_rolling(25, 1.0, hours, DAY, NOON) is None


def test_a_rolling_window_that_fills_faster_than_it_empties_gets_full():
    hours = series(*[1] * 24)

    assert used_up_while_rolling(44, 3.0, hours, DAY, NOON) == NOON + 10 * HOUR


@pytest.fixture
def spend(own):
    """Let a key spend so many dollars in each of the hours before NOON, the last one last."""

    def spend(key, *dollars):
        spend_hourly(own, key, *dollars, until=NOON)

    return spend


def look(at=NOON):
    with time_machine.travel(at, tick=False):
        return forecasts.raise_run_outs()


def foreseen(at=NOON):
    [forecast] = forecasts.forecasts(standings(at), at)
    return forecast


@pytest.mark.django_db
class TestOfBudgets:
    def test_a_budget_that_will_run_out_early_is_told_of(self, key, spend):
        make_budget(key=key, amount=100)
        spend(key, *[1] * 60)

        [alert] = look()

        assert alert.data["runs_out_at"] == "2026-11-17T04:00:00Z"
        assert alert.text == (
            "Key notebook of team research will have used up its monthly budget that began on "
            "2026-11-01 at about 2026-11-17 04:00 UTC if it goes on like this: "
            "$60.00 of $100.00 so far."
        )

    def test_it_is_told_of_once_per_window(self, key, spend):
        make_budget(key=key, amount=100)
        spend(key, *[1] * 60)

        assert len(look()) == 1
        assert look() == []
        assert look(NOON + DAY) == []

    def test_a_budget_that_lasts_is_not_told_of(self, key, spend):
        make_budget(key=key, amount=1000)
        spend(key, *[1] * 60)

        assert look() == []

    def test_a_budget_that_runs_out_shortly_before_the_end_is_not_told_of(self, key, spend):
        make_budget(key=key, amount=60 + 24 * 15)
        spend(key, *[1] * 60)

        assert foreseen().runs_out_at == datetime(2026, 11, 30, 12, tzinfo=UTC)
        assert look() == []

    def test_a_budget_that_is_used_up_is_not_foreseen_to_be(self, key, spend):
        make_budget(key=key, amount=50)
        spend(key, *[1] * 60)

        assert look() == []
        assert foreseen().in_words == "used up"

    def test_early_in_the_window_nothing_is_told(self, key, spend):
        make_budget(key=key, amount=100, period="week")
        spend(key, *[1] * 60)
        monday = datetime(2026, 11, 16, tzinfo=UTC)

        assert look(monday + HOUR) == []

    def test_with_too_little_to_go_by_it_is_unknown(self, key, spend):
        make_budget(key=key, amount=10)
        spend(key, *[1] * 5)

        assert foreseen().in_words == "unknown"
        assert look() == []

    def test_a_rolling_budget_that_fills_is_told_of_once(self, key, spend):
        make_budget(key=key, amount=100, period="week", window="rolling")
        spend(key, *[1] * 60)

        assert len(look()) == 1
        assert look() == []

    def test_a_rolling_budget_is_not_told_of_before_a_fifth_of_its_length(self, key, spend):
        make_budget(key=key, amount=100, period="month", window="rolling")
        spend(key, *[1] * 60)

        assert foreseen().in_words == "2026-11-17 04:00 UTC"
        assert look() == []

    def test_a_rolling_budget_in_balance_is_not_told_of(self, key, spend):
        make_budget(key=key, amount=30, period="day", window="rolling")
        spend(key, *[1] * 60)

        assert look() == []

    def test_a_budget_that_is_given_once_is_foreseen_and_not_told_of(self, key, spend):
        make_budget(key=key, amount=100, period="total")
        spend(key, *[1] * 60)

        assert foreseen().in_words == "2026-11-17 04:00 UTC"
        assert look() == []

    def test_a_team_is_told_of_by_what_its_keys_spend_together(self, team, spend):
        make_budget(team=team, amount=100)
        for name in ("one", "other"):
            spend(make_key(team, name), *[0.5] * 60)

        [alert] = look()

        assert alert.data["runs_out_at"] == "2026-11-17T04:00:00Z"
        assert alert.team == team

    def test_hours_are_read_in_one_query_for_many(self, spend, django_assert_num_queries):
        for _ in range(5):
            make_budget(key=make_key(), amount=100)
        found = standings(NOON)

        with django_assert_num_queries(1):
            list(forecasts.forecasts(found, NOON))

    def test_what_was_told_is_kept_as_such(self, key, spend):
        make_budget(key=key, amount=100)
        spend(key, *[1] * 60)
        look()

        assert Alert.objects.get().kind == Alert.Kind.RUN_OUT
