"""A request that was taken for interrupted, and whose real end is told afterwards."""

import pytest

from tests import factories
from tests.usage.spools import make_attempt, make_record
from tests.usage.summing import sum_up
from usage import frames
from usage.models import DailyUsage, UsageAdjustment, UsageAttempt, UsageRecord
from usage.records import encoded

pytestmark = pytest.mark.django_db


@pytest.fixture
def interrupted(own):
    """A record whose process died; its figures are guesses."""
    price = factories.make_price(factories.make_model(), input="1", output="2")
    record = make_record(
        input_tokens=100, output_tokens=0, cost_nano=None, price_id=price.pk, tags="a,b"
    )
    own.recorder.open(record)
    own.recorder.progress(record.request_id, 30)
    own.crash()
    own.begin()
    own.ship()
    return record


def close(own, record, **fields):
    for name, value in fields.items():
        setattr(record, name, value)
    own.spool.append(encoded(frames.CLOSE, record))
    own.ship()


BETTER = {"input_tokens": 110, "output_tokens": 50, "cost_nano": 210_000}


def test_the_record_stays_and_the_difference_is_an_adjustment(own, interrupted):
    close(own, interrupted, **BETTER, provider_cost_nano=210_000)

    assert UsageRecord.objects.get().cost_nano == 160_000
    adjustment = UsageAdjustment.objects.get()
    assert adjustment.identity == f"late:{interrupted.request_id}"
    assert adjustment.reason == "late_close"
    assert (adjustment.input_tokens, adjustment.output_tokens) == (10, 20)
    assert (adjustment.cost_nano, adjustment.provider_cost_nano) == (50_000, 50_000)
    assert adjustment.unpriced == 0


def test_a_difference_may_be_negative(own, interrupted):
    close(own, interrupted, input_tokens=90, output_tokens=0, cost_nano=90_000)

    adjustment = UsageAdjustment.objects.get()
    assert (adjustment.input_tokens, adjustment.cost_nano) == (-10, -70_000)


def test_an_adjustment_counts_where_its_record_does(own, interrupted):
    close(own, interrupted, **BETTER)

    record, adjustment = UsageRecord.objects.get(), UsageAdjustment.objects.get()
    for name in ("request_id", "started_at", "key_id", "key_name", "team_id", "user_id", "tags"):
        assert getattr(adjustment, name) == getattr(record, name)
    assert adjustment.model == "small"


# On PostgreSQL a roll-up sees what is committed.
@pytest.mark.django_db(transaction=True)
def test_a_late_close_is_added_to_the_sums_of_its_hour(own, interrupted):
    sum_up()
    close(own, interrupted, **BETTER, provider_cost_nano=210_000)

    sum_up()

    sums = DailyUsage.objects.get()
    assert (sums.requests, sums.cost_nano) == (1, 210_000)


def test_a_late_close_counts_once_however_often_it_is_read(own, interrupted):
    for _ in range(3):
        close(own, interrupted, **BETTER)

    assert UsageAdjustment.objects.count() == 1


def test_a_cost_that_becomes_known_is_no_longer_unpriced(own):
    own.recorder.open(record := make_record(cost_nano=None, price_id=None))
    own.crash()
    own.begin()
    own.ship()

    close(own, record, cost_nano=70)

    adjustment = UsageAdjustment.objects.get()
    assert (adjustment.unpriced, adjustment.cost_nano) == (-1, 70)


def test_a_late_close_that_says_the_same_adds_nothing(own, interrupted):
    close(own, interrupted, output_tokens=30, cost_nano=160_000, provider_cost_nano=160_000)

    assert not UsageAdjustment.objects.exists()


def test_a_second_close_of_a_request_that_ended_well_adds_nothing(own):
    own.record(record := make_record())
    own.ship()

    close(own, record, **BETTER)

    assert not UsageAdjustment.objects.exists()


def test_an_interruption_that_comes_after_the_close_adds_nothing(own):
    own.record(record := make_record())
    own.ship()

    close(own, record, outcome="interrupted", end_reason="interrupted", cost_nano=1)

    assert not UsageAdjustment.objects.exists()
    assert UsageRecord.objects.get().outcome == "ok"


def test_a_second_guess_at_an_interrupted_request_adds_nothing(own, interrupted):
    close(own, interrupted, outcome="interrupted", end_reason="interrupted", output_tokens=999)

    assert not UsageAdjustment.objects.exists()


def test_both_ends_in_one_batch_count_as_the_first_and_a_difference(own, interrupted):
    other = make_record(request_id=interrupted.request_id, **BETTER)
    own.spool.append(encoded(frames.CLOSE, other))
    own.record(make_record())

    own.ship()

    assert UsageRecord.objects.count() == 2
    assert UsageAdjustment.objects.get().request_id == interrupted.request_id


def test_an_interrupted_request_is_charged_with_its_teams_markup(own):
    price = factories.make_price(factories.make_model(), input="1", output="2")
    record = make_record(input_tokens=100, output_tokens=0, price_id=price.pk, markup_bp=1250)
    own.recorder.open(record)
    own.crash()
    own.begin()
    own.ship()

    row = UsageRecord.objects.get()
    assert (row.provider_cost_nano, row.cost_nano, row.markup_bp) == (100_000, 112_500, 1250)


def test_an_interrupted_request_is_charged_the_price_of_the_route_that_was_answering(own):
    model = factories.make_model()
    dear = factories.make_price(model, input="1", output="2")
    cheap = factories.make_price(model, input="0.1", output="0.2")
    record = make_record(input_tokens=100, output_tokens=0, price_id=dear.pk)
    own.recorder.open(record)
    own.recorder.progress(record.request_id, 0, [make_attempt(price_id=cheap.pk)])
    own.crash()
    own.begin()
    own.ship()

    row = UsageRecord.objects.get()
    assert (row.price_id, row.cost_nano) == (cheap.pk, 10_000)


def test_the_attempt_that_was_open_is_told(own):
    record = make_record(input_tokens=100, output_tokens=0, provider_name="", attempts=0)
    own.recorder.open(record)
    tries = [
        make_attempt(provider_name="far", outcome="upstream_timeout", received=False),
        make_attempt(provider_name="near", outcome="", received=False),
    ]
    own.recorder.progress(record.request_id, 7, tries)
    own.crash()
    own.begin()
    own.ship()

    row = UsageRecord.objects.get()
    assert (row.provider_name, row.attempts) == ("near", 2)
    first, last = UsageAttempt.objects.all()
    assert (first.provider_name, first.outcome) == ("far", "upstream_timeout")
    assert (last.provider_name, last.outcome, last.output_tokens) == ("near", "interrupted", 7)
    assert (last.usage_source, last.received) == ("estimated", False)
