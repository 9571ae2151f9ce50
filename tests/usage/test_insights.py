"""What is always worth a look: the dearest keys, what was spent for nothing, what is a guess."""

from datetime import timedelta

import pytest

from tests import factories
from tests.usage.ledger import DAY, NOON, log, sum_up
from usage import as_of, insights
from usage.models import HourlyAttempts, PurgeReceipt
from usage.reports import NotKept

pytestmark = pytest.mark.django_db(transaction=True)


def attempts(outcome="ok", *, received=False, hour=NOON, **fields):
    facts = {"team_id": 1, "key_id": 1, "model": "small", "provider_name": "local"}
    facts |= {"upstream_model": "tiny", "attempts": 1, "cost_nano": 5}
    HourlyAttempts.objects.create(hour=hour, outcome=outcome, received=received, **facts | fields)


def test_the_dearest_keys_come_first():
    log(cost_nano=1)
    log(cost_nano=5, key_id=2, key_name="batch", team_id=2, team_name="sales")
    sum_up()

    told = insights.top_keys(DAY, DAY, as_of.latest())

    assert [(*line.names, line.sums["cost_nano"]) for line in told] == [
        ("batch", "sales", 5), ("notebook", "research", 1),
    ]  # fmt: skip


def test_only_what_nobody_received_was_spent_for_nothing():
    attempts("upstream_timeout", cost_nano=7)
    attempts("upstream_timeout", cost_nano=2, hour=NOON + timedelta(hours=1), unpriced=1)
    attempts("ok", received=True)
    attempts("client_disconnected", cost_nano=20, provider_name="other")
    attempts("ok", hour=NOON + timedelta(days=1))

    assert insights.wasted(DAY, DAY) == [
        insights.Wasted("other", "small", "client_disconnected", 1, 20, 0),
        insights.Wasted("local", "small", "upstream_timeout", 2, 9, 1),
    ]


def test_attempts_that_are_no_longer_kept_do_not_count_as_none():
    PurgeReceipt.objects.create(kind="hourly", first_day=DAY, last_day=DAY, rows=1)

    with pytest.raises(NotKept):
        insights.wasted(DAY, DAY)


def test_the_share_of_estimates_is_told_by_provider():
    log(cost_nano=1, usage_source="estimated")
    log(cost_nano=3)
    log(cost_nano=3, provider_name="exact")
    sum_up()

    told = insights.guessed(DAY, DAY, as_of.latest())

    assert [(each.provider, each.share) for each in told] == [("local", 0.25), ("exact", 0.0)]


def test_the_page_shows_all_of_it(client):
    log(NOON.replace(month=10))
    sum_up()
    client.force_login(factories.make_admin())

    for period in ("", "this_month", "bogus"):
        page = client.get("/admin/usage/reportdefinition/spending/", {"period": period})
        assert b"Spent for nothing" in page.content


def test_before_the_first_sums_the_page_says_so(client):
    client.force_login(factories.make_admin())

    page = client.get("/admin/usage/reportdefinition/spending/").content.decode()

    assert "Nothing was summed yet" in page
