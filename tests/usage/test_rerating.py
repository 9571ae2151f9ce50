"""A past period priced anew: shown first, written once, and never in a record."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from accounts.models import Team
from registry.models import Price
from tests.courier_site.rows import make_record
from tests.factories import make_key, make_model, make_price, make_provider
from usage import rerating
from usage.models import RerateRun, StaleHour, UsageAdjustment, UsageRecord
from usage.rerating import Scope

pytestmark = pytest.mark.django_db

DAY = date(2026, 11, 10)
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
SINCE_EVER = datetime(2026, 1, 1, tzinfo=UTC)
MILLION = {"input_tokens": 1_000_000, "output_tokens": 0}


@pytest.fixture
def key():
    return make_key()


@pytest.fixture
def model():
    return make_model("gpt-4o", make_provider("openai"), priced=False)


@pytest.fixture
def price(model):
    """One dollar for a million tokens of input."""
    return make_price(model, input="1", output="2", starts_at=SINCE_EVER)


def record(key, at=NOON, **fields):
    """A million tokens that were charged two dollars."""
    fields = MILLION | {"cost_nano": 2 * 10**9, "provider_cost_nano": 2 * 10**9} | fields
    return make_record(key, at=at, upstream_model="gpt-4o", **fields)


def run(first=DAY, last=DAY, **fields):
    """A run that was calculated and approved."""
    made = RerateRun.objects.create(first_day=first, last_day=last, **fields)
    rerating.calculate(made)
    rerating.approve(made, "root")
    return made


def applied(**fields):
    made = run(**fields)
    rerating.apply(made)
    return made


def surveyed(**fields):
    return rerating.survey(Scope(DAY, DAY, **fields))


class TestWhatIsShown:
    def test_old_and_new_by_team(self, key, price):
        record(key)
        record(key, cost_nano=10**9, provider_cost_nano=10**9)

        (total,) = surveyed()

        assert total.team == key.team.name
        assert (total.old_nano, total.new_nano, total.difference_nano) == (
            3 * 10**9,
            2 * 10**9,
            -(10**9),
        )
        assert (total.requests, total.changed) == (2, 1)

    def test_nothing_is_written(self, key, price):
        record(key)

        surveyed()

        assert not UsageAdjustment.objects.exists()

    def test_only_what_was_asked_for(self, key, price):
        record(key)
        record(key, model_served="other")
        record(key, at=NOON + timedelta(days=1))
        record(make_key())

        (total,) = surveyed(model="gpt-4o", team_id=key.team_id)

        assert total.requests == 1

    def test_what_nobody_has_a_price_for_stays_as_it_is(self, key, model):
        record(key)

        (total,) = surveyed()

        assert (total.changed, total.unknown, total.new_nano) == (0, 1, 2 * 10**9)


class TestThePrice:
    def test_is_the_one_of_the_moment_of_the_request(self, key, price, model):
        make_price(model, input="9", starts_at=NOON + timedelta(hours=1))
        record(key)

        assert surveyed()[0].new_nano == 10**9

    def test_is_that_of_the_route_that_answered(self, key, price, model):
        make_price(model, route=model.routes.get(), input="7", starts_at=SINCE_EVER)
        record(key)

        assert surveyed()[0].new_nano == 7 * 10**9

    def test_has_every_class_of_tokens(self, key, model):
        make_price(
            model, input="1", cached_input=Decimal("0.1"), audio_input=Decimal(5), output="0",
            starts_at=SINCE_EVER,
        )  # fmt: skip
        record(key, cached_input_tokens=500_000, audio_input_tokens=100_000)

        assert surveyed()[0].new_nano == 400_000_000 + 50_000_000 + 500_000_000

    def test_has_the_markup_of_the_team(self, key, price):
        Team.objects.filter(pk=key.team_id).update(markup_percent=Decimal("12.5"))
        record(key)

        assert surveyed()[0].new_nano == 1_125_000_000

    def test_has_the_markup_of_the_call_where_the_team_is_gone(self, key, price):
        record(key, team_id=987_654, markup_bp=-5000)

        assert surveyed()[0].new_nano == 500_000_000

    def test_per_request_is_not_due_where_nobody_answered(self, key, model):
        make_price(model, input="1", request=Decimal(1), starts_at=SINCE_EVER)
        record(key, input_tokens=0, usage_source="none", outcome="upstream_error", cost_nano=0)

        assert surveyed()[0].new_nano == 0

    def test_of_a_model_that_is_switched_off_still_holds(self, key, price, model):
        model.enabled = False
        model.save()
        record(key)

        assert surveyed()[0].new_nano == 10**9


class TestWhatIsWritten:
    def test_an_adjustment_by_the_difference(self, key, price):
        made = record(key, tags="a,b")

        run = applied()

        adjustment = UsageAdjustment.objects.get()
        assert adjustment.identity == f"rerate:{run.pk}:{made.request_id}"
        assert (adjustment.cost_nano, adjustment.provider_cost_nano) == (-(10**9), -(10**9))
        assert (adjustment.reason, adjustment.made_by) == ("rerate", "root")
        assert adjustment.price_id == price.pk
        assert (adjustment.tags, adjustment.started_at) == ("a,b", NOON)

    def test_the_record_stays_as_it_was(self, key, price):
        made = record(key)
        before = UsageRecord.objects.values().get()

        applied()

        assert UsageRecord.objects.values().get(pk=made.pk) == before

    def test_a_request_of_unknown_cost_gets_one(self, key, price):
        record(key, cost_nano=None, provider_cost_nano=None)

        applied()

        adjustment = UsageAdjustment.objects.get()
        assert (adjustment.cost_nano, adjustment.unpriced) == (10**9, -1)

    def test_a_request_that_turns_out_free_is_no_longer_unknown(self, key, model):
        Price.objects.create(model=model, free=True, starts_at=SINCE_EVER)
        record(key, cost_nano=None, provider_cost_nano=None)

        applied()

        adjustment = UsageAdjustment.objects.get()
        assert (adjustment.cost_nano, adjustment.unpriced) == (0, -1)

    def test_a_second_run_finds_nothing(self, key, price):
        record(key)
        record(key, cost_nano=None, provider_cost_nano=None)
        applied()

        (total,) = surveyed()
        second = applied()

        assert (total.changed, total.difference_nano) == (0, 0)
        assert second.written == 0

    def test_a_third_price_is_counted_from_what_the_second_made_of_it(self, key, price, model):
        record(key)
        applied()
        price.input = Decimal(5)
        price.save()

        applied()

        sums = UsageAdjustment.objects.aggregate(Sum("cost_nano"))
        assert 2 * 10**9 + sums["cost_nano__sum"] == 5 * 10**9

    def test_tokens_that_came_late_are_charged_too(self, key, price):
        made = record(key, outcome="interrupted", input_tokens=0, cost_nano=0)
        UsageAdjustment.objects.create(
            identity=f"late:{made.request_id}", request_id=made.request_id, started_at=NOON,
            reason="late_close", key_id=key.pk, key_name=key.name, team_id=key.team_id,
            team_name=key.team.name, model="gpt-4o", input_tokens=3_000_000, cost_nano=1,
        )  # fmt: skip

        applied()

        assert UsageAdjustment.objects.get(reason="rerate").cost_nano == 3 * 10**9 - 1

    @pytest.mark.skipif(connection.vendor == "postgresql", reason="there sums go by transactions")
    def test_the_hours_are_summed_anew(self, key, price):
        record(key)
        StaleHour.objects.all().delete()

        applied()

        assert StaleHour.objects.get().hour == NOON

    def test_the_shown_sum_is_the_written_sum(self, key, price):
        for cost in (0, 1, 10**9, 3 * 10**9):
            record(key, cost_nano=cost)
        (total,) = surveyed()

        applied()

        written = UsageAdjustment.objects.aggregate(Sum("cost_nano"))["cost_nano__sum"]
        assert written == total.difference_nano


class TestARunThatBreaksOff:
    @pytest.fixture(autouse=True)
    def _small_batches(self, monkeypatch, key, price):
        monkeypatch.setattr(rerating, "BATCH", 2)
        for minutes in range(5):
            record(key, at=NOON + timedelta(minutes=minutes))

    def test_writes_what_is_missing_when_it_is_taken_up(self):
        broken = run()
        first = next(rerating.scope_of(broken).batches())
        rerating._correct(broken, first, rerating.Tariff())

        rerating.apply(RerateRun.objects.get())

        assert UsageAdjustment.objects.count() == 5

    def test_writes_nothing_twice_when_it_is_claimed_twice(self):
        one = run()
        other = RerateRun.objects.get()

        rerating.apply(one)
        rerating.apply(other)

        assert UsageAdjustment.objects.count() == 5
        assert RerateRun.objects.get().written == 5

    def test_and_another_over_the_same_period_find_each_difference_once(self):
        one, other = run(), run()

        rerating.apply(one)
        rerating.apply(other)

        assert UsageAdjustment.objects.count() == 5

    def test_goes_on_behind_what_is_done(self):
        made = run()
        made.position = UsageRecord.objects.order_by("request_id")[1].request_id

        rerating.apply(made)

        assert UsageAdjustment.objects.count() == 3

    def test_is_taken_up_once_its_worker_shows_no_sign_of_life(self):
        made = run()
        first, second = rerating.take_up(), rerating.take_up()
        RerateRun.objects.update(touched_at=timezone.now() - timedelta(minutes=2))

        assert (first, second, rerating.take_up()) == ([made.pk], [], [made.pk])


class TestApproval:
    def test_is_refused_once_a_price_has_changed(self, key, price):
        record(key)
        made = RerateRun.objects.create(first_day=DAY, last_day=DAY)
        rerating.calculate(made)
        price.input = Decimal(3)
        price.save()

        with pytest.raises(ValueError, match="have changed"):
            rerating.approve(made, "root")

    def test_is_refused_before_the_run_is_calculated(self):
        made = RerateRun.objects.create(first_day=DAY, last_day=DAY)

        with pytest.raises(ValueError, match="being calculated"):
            rerating.approve(made, "root")

    def test_holds_for_the_prices_that_were_shown_only(self, key, price):
        record(key)
        made = run()
        price.input = Decimal(3)
        price.save()

        rerating.apply(made)

        assert (made.state, UsageAdjustment.objects.count()) == ("stopped", 0)

    def test_is_not_lost_by_a_new_team(self, key, price):
        record(key)
        made = run()
        make_key()

        rerating.apply(made)

        assert made.state == "applied"


def test_what_was_known_then_is_still_told_as_it_was(key, price):
    """Product idea 3: the sum as of a moment before the approval stays what it was."""
    record(key)
    as_of = timezone.now()
    before = _known(as_of)

    applied()

    assert _known(as_of) == before == 2 * 10**9
    assert _known(timezone.now()) == 10**9


def _known(as_of):
    """What the ledger knew at that moment."""
    records = UsageRecord.objects.filter(recorded_at__lte=as_of)
    adjustments = UsageAdjustment.objects.filter(recorded_at__lte=as_of)
    return sum(
        rows.aggregate(Sum("cost_nano"))["cost_nano__sum"] or 0 for rows in (records, adjustments)
    )
