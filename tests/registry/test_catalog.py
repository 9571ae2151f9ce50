"""The shipped price list, as it was when it was shipped."""

import socket
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from genai_prices.data import providers
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from registry import catalog
from registry.models import Provider


def at(url, upstream_model):
    return catalog.find(Provider(kind="openai_compatible", base_url=url), upstream_model)


def dollars(listed):
    return {name: f"{figure.normalize():f}" for name, figure in listed.figures.items()}


class TestWhatIsFound:
    def test_a_model_of_a_kind_with_an_address_of_its_own(self):
        (listed,) = catalog.find(Provider(kind="openai"), "gpt-4o-mini").periods

        assert dollars(listed) == {
            "input": "0.15",
            "cached_input": "0.075",
            "output": "0.6",
            "search_unit": "0.01",
        }

    def test_both_kinds_of_cache_write(self):
        (listed,) = at("https://api.anthropic.com/v1", "claude-haiku-4-5").periods

        assert (dollars(listed)["cache_write"], dollars(listed)["cache_write_1h"]) == ("1.25", "2")

    def test_audio(self):
        url = "https://generativelanguage.googleapis.com/v1beta/openai"
        (listed,) = at(url, "gemini-2.5-flash").periods

        assert dollars(listed)["audio_input"] == "1"

    def test_a_dated_name_of_a_model(self):
        assert at("https://api.openai.com/v1", "gpt-4o-mini-2024-07-18").name.startswith(
            "openai / "
        )

    def test_nothing_for_a_server_of_ones_own(self):
        assert at("http://10.0.0.7:8000/v1", "gpt-4o-mini") is None

    def test_nothing_for_a_name_that_the_vendor_does_not_have(self):
        assert at("https://api.openai.com/v1", "house-blend") is None

    def test_nothing_is_asked_of_the_network(self, monkeypatch):
        def refused(*_):
            raise AssertionError("The network was asked.")

        monkeypatch.setattr(socket.socket, "connect", refused)
        monkeypatch.setattr(socket, "getaddrinfo", refused)

        assert at("https://api.openai.com/v1", "gpt-4.1-mini")

    def test_every_figure_of_the_list_fits_into_a_row(self):
        for vendor in providers:
            for model in vendor.models:
                for listed in catalog._periods(model):
                    if listed.is_usable:
                        listed.row().clean_fields(exclude=["model", "starts_at"])


def periods(prices, **fields):
    return tuple(catalog._periods(ModelInfo(id="m", match=None, prices=prices, **fields)))


class TestWhatARowCannotHold:
    def test_of_tiers_the_dearest_is_taken_and_the_others_are_told(self):
        tiers = TieredPrices(
            base=Decimal("1.25"), tiers=[Tier(start=200_000, price=Decimal("2.5"))]
        )
        (listed,) = periods(ModelPrice(input_mtok=tiers, output_mtok=Decimal(10)))

        assert dollars(listed) == {"input": "2.5", "output": "10"}
        assert listed.notes == (
            "Input: listed at $1.25 and $2.5, by length, time or kind; the dearest is taken.",
        )

    def test_of_times_of_day_the_dearest_is_taken_and_told(self):
        by_day = TimeOfDateConstraint(
            start_time=datetime(2026, 1, 1, 1, tzinfo=UTC).timetz(),
            end_time=datetime(2026, 1, 1, 9, tzinfo=UTC).timetz(),
        )
        prices = [
            ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(2))),
            ConditionalPrice(by_day, prices=ModelPrice(input_mtok=Decimal(1))),
        ]
        (listed,) = periods(prices)

        assert dollars(listed) == {"input": "2"}
        assert "The price depends on the time of day." in listed.notes

    def test_a_unit_that_is_not_metered_is_told(self):
        prices = ModelPrice(input_mtok=Decimal(1), audio_hours=Decimal(2))
        (listed,) = periods(prices)

        assert listed.notes == ("Prices per audio hours are left out.",)

    def test_prices_in_such_units_alone_are_of_no_use(self):
        (listed,) = periods(ModelPrice(audio_hours=Decimal(2)))

        assert not listed.is_usable

    def test_other_ways_of_processing_are_told(self):
        batch = PriceVariant(when={"processing": "batch"}, prices=ModelPrice(input_mtok=Decimal(1)))
        (listed,) = periods(ModelPrice(input_mtok=Decimal(2)), price_variants=[batch])

        assert listed.notes == ("Prices for batch processing are left out.",)

    def test_less_than_the_smallest_figure_is_rounded_up(self):
        (listed,) = periods(ModelPrice(input_mtok=Decimal("0.0000001")))

        assert listed.figures["input"] == Decimal("0.000001")

    def test_a_thousand_requests_are_a_thousand_times_one(self):
        (listed,) = periods(ModelPrice(requests_kcount=Decimal(12)))

        assert dollars(listed) == {"request": "0.012"}


class TestPeriods:
    @pytest.fixture
    def entry(self):
        starts = [date(2026, 3, 1), date(2026, 6, 1)]
        prices = [ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(1)))]
        for number, start in enumerate(starts, 2):
            price = ModelPrice(input_mtok=Decimal(number))
            prices.append(ConditionalPrice(StartDateConstraint(start), prices=price))
        return catalog.Entry("v / m", periods(prices))

    def since(self, entry, *moment):
        return [
            (f"{start:%m-%d}", str(listed.figures["input"].normalize()))
            for start, listed in entry.since(datetime(2026, *moment, tzinfo=UTC))
        ]

    def test_the_one_in_force_begins_when_it_is_wished(self, entry):
        assert self.since(entry, 7, 15) == [("07-15", "3")]

    def test_later_ones_begin_when_the_list_says(self, entry):
        assert self.since(entry, 2, 15) == [("02-15", "1"), ("03-01", "2"), ("06-01", "3")]

    def test_one_is_in_force_from_its_very_start(self, entry):
        assert self.since(entry, 3, 1) == [("03-01", "2"), ("06-01", "3")]


def test_a_model_that_costs_nothing_is_free():
    (listed,) = periods(ModelPrice(input_mtok=Decimal(0), output_mtok=Decimal(0)))

    assert listed.row().free
    assert listed.row().source == catalog.SOURCE
