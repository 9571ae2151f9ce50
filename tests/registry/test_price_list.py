"""The shipped price list beside present prices: what differs, and what is written."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from registry import catalog, price_list
from registry.models import Price, Revision
from tests.factories import make_model, make_price, make_provider, make_route

pytestmark = pytest.mark.django_db

OPENAI = "https://api.openai.com/v1"
OPENROUTER = "https://openrouter.ai/api/v1"
START = datetime(2026, 11, 1, tzinfo=UTC)
MINI = {"input": "0.15", "output": "0.6", "cached_input": Decimal("0.075")}


@pytest.fixture
def openai():
    return make_provider("openai", base_url=OPENAI)


def compared(start=START):
    return price_list.compare(price_list.models(), start)


class TestWhatDiffers:
    def test_a_model_without_a_price_gets_that_of_its_route(self, openai):
        make_model("gpt-4o-mini", openai, priced=False)

        (proposal,) = compared().proposals

        assert (proposal.subject, proposal.entry) == ("gpt-4o-mini", "openai / gpt-4o-mini")
        assert ("input", "unknown", "$0.15") in proposal.differences()

    def test_a_figure_that_is_another(self, openai):
        model = make_model("gpt-4o-mini", openai, priced=False)
        search = {"search_unit": Decimal("0.01")}
        make_price(model, **(MINI | search | {"output": "0.5"}), starts_at=START)

        (proposal,) = compared(START + timedelta(days=1)).proposals

        assert list(proposal.differences()) == [("output", "$0.50", "$0.60")]

    def test_a_price_as_listed_is_left_alone(self, openai):
        model = make_model("gpt-4o-mini", openai, priced=False)
        make_price(model, **MINI, search_unit=Decimal("0.01"), starts_at=START)

        comparison = compared()

        assert comparison.proposals == []
        assert comparison.as_listed == ["gpt-4o-mini"]

    def test_routes_that_are_listed_alike_share_one_price(self, openai):
        model = make_model("gpt-4o-mini", openai, priced=False)
        make_route(model, make_provider("second", base_url=OPENAI))

        assert [proposal.route for proposal in compared().proposals] == [None]

    def test_routes_that_are_listed_differently_each_have_their_own(self, openai):
        model = make_model("gpt-4o-mini", openai, priced=False)
        make_route(model, make_provider("local"))
        route = make_route(model, openai, upstream_model="gpt-4.1-mini")

        comparison = compared()

        assert [proposal.route.upstream_model for proposal in comparison.proposals] == [
            "gpt-4o-mini",
            "gpt-4.1-mini",
        ]
        assert comparison.proposals[1].route == route
        assert comparison.unlisted == ["gpt-4o-mini → local / gpt-4o-mini"]

    def test_a_model_that_the_list_does_not_have_is_named(self):
        make_model("house-blend", make_provider())

        assert compared().unlisted == ["house-blend"]

    def test_a_model_that_is_priced_in_what_is_not_metered_is_named(self, openai):
        make_model("whisper-1", openai)

        assert compared().unlisted == ["whisper-1"]

    def test_a_disabled_route_is_not_asked_for(self, openai):
        make_route(make_model("gpt-4o-mini"), openai, enabled=False)

        assert compared().unlisted == ["gpt-4o-mini"]

    def test_a_later_start_of_the_list_is_a_row_of_its_own(self):
        router = make_provider("router", base_url=OPENROUTER)
        make_model("deepseek/deepseek-chat-v3.1", router, priced=False)

        starts = [proposal.listed.starts_at for proposal in compared().proposals]

        later = [datetime(2026, 11, 3, tzinfo=UTC), datetime(2026, 11, 9, tzinfo=UTC)]
        assert starts == [START, *later]

    def test_what_cannot_be_held_is_told(self):
        google = make_provider("google", base_url="https://generativelanguage.googleapis.com")
        make_model("gemini-2.5-pro", google, priced=False)

        (proposal,) = compared().proposals

        assert any("the dearest is taken" in note for note in proposal.notes)


class TestWhatIsWritten:
    def test_a_row_says_where_it_comes_from(self, openai):
        make_model("gpt-4o-mini", openai, priced=False)

        price_list.write(compared().writable)

        row = Price.objects.get()
        assert (row.input, row.starts_at, row.source) == (Decimal("0.15"), START, catalog.SOURCE)

    def test_what_was_written_no_longer_differs(self, openai):
        make_model("gpt-4o-mini", openai, priced=False)
        price_list.write(compared().writable)

        assert compared().proposals == []

    def test_every_process_is_told(self, openai):
        make_model("gpt-4o-mini", openai, priced=False)
        before = Revision.objects.get().number

        price_list.write(compared().writable)

        assert Revision.objects.get().number > before

    def test_a_model_of_a_manifest_is_shown_but_not_written(self, openai):
        make_model("gpt-4o-mini", openai, priced=False, managed_by="courier.yaml")

        comparison = compared()

        assert "courier.yaml" in comparison.proposals[0].obstacle
        assert comparison.writable == []

    def test_nothing_is_written_where_another_begins_at_the_same_moment(self, openai):
        make_price(make_model("gpt-4o-mini", openai, priced=False), starts_at=START)

        assert compared().writable == []


def test_a_proposal_is_another_once_the_present_price_is(openai):
    model = make_model("gpt-4o-mini", openai, priced=False)
    (before,) = compared().proposals
    make_price(model, starts_at=START - timedelta(days=1))

    (after,) = compared().proposals

    assert after.identity != before.identity
