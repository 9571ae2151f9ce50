"""One request in the admin: its attempts, its adjustments, and where its figures come from."""

import pytest

from tests import factories
from tests.usage.spools import make_adjustment, make_attempt, make_record
from usage.models import UsageRecord

pytestmark = pytest.mark.django_db


@pytest.fixture
def page_of(client, own):
    """What the page of a request says, as text."""
    client.force_login(factories.make_admin())

    def text(record, *adjustments):
        own.record(record)
        own.ship()
        for adjustment in adjustments:
            make_adjustment(record, **adjustment)
        return client.get(f"/admin/usage/usagerecord/{record.request_id}/change/").content.decode()

    return text


def test_every_attempt_is_shown_with_what_it_cost(page_of):
    lost = make_attempt(provider_name="far", outcome="upstream_timeout", received=False,
                        cost_nano=1_230_000, input_tokens=1234)  # fmt: skip

    page = page_of(make_record(tries=[lost, make_attempt(provider_name="near")]))

    for text in ("far / tiny", "upstream timeout", "1,234 / 5", "$0.00123, for nothing",
                 "near / tiny"):  # fmt: skip
        assert text in page


def test_a_request_without_attempts_has_no_table_of_them(page_of):
    assert "Upstream attempts" not in page_of(make_record())


def test_adjustments_are_shown_with_the_sum(page_of):
    page = page_of(
        make_record(cost_nano=2_000_000_000),
        {"cost_nano": -500_000_000, "note": "A credit.", "made_by": "root"},
        {"cost_nano": 100_000_000},
    )

    for text in ("-$0.500000000", "+$0.100000000", "A credit.", "root", "$1.600000000"):
        assert text in page


def test_a_cost_that_an_adjustment_made_known_is_the_sum(page_of):
    page = page_of(make_record(cost_nano=None), {"cost_nano": 70, "unpriced": -1})

    assert "$0.000000070" in page


def test_a_cost_that_stays_unknown_is_no_sum(page_of):
    page = page_of(make_record(cost_nano=None), {"output_tokens": 7})

    assert "costs <strong>unknown</strong>" in page


def test_where_the_cost_comes_from_is_told(page_of):
    record = make_record(cost_nano=112, provider_cost_nano=100, markup_bp=1250, tags="blue,green")

    page = page_of(record)

    for text in ("$0.000000112", "$0.000000100", "+12.5 %", "blue, green"):
        assert text in page
    assert UsageRecord.objects.count() == 1
