"""The configuration in memory: what is in it, and what a request costs by it."""

import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.tokens import TokenUsage
from registry import snapshot
from registry.models import Price as PriceRow
from registry.models import Revision
from tests.factories import (
    make_model,
    make_price,
    make_provider,
    make_route,
    make_upstream_key,
)

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def loaded():
    return snapshot.load(revision=1)


@pytest.mark.django_db
class TestWhatAClientMayAskFor:
    def test_a_model_by_its_name(self):
        make_model("gpt-4o")

        assert loaded().model("gpt-4o").name == "gpt-4o"

    def test_a_model_by_an_alias(self):
        make_model("gpt-4o", aliases=["large"])

        assert loaded().model("large").name == "gpt-4o"

    def test_a_model_by_a_wildcard(self):
        make_model("vendor/*")

        assert loaded().model("vendor/any-model").name == "vendor/*"

    def test_the_longest_wildcard_that_fits(self):
        make_model("vendor/*")
        make_model("vendor/small-*")

        assert loaded().model("vendor/small-one").name == "vendor/small-*"

    def test_a_name_rather_than_a_wildcard(self):
        make_model("vendor/*")
        make_model("vendor/own")

        assert loaded().model("vendor/own").name == "vendor/own"

    def test_letters_of_the_same_case_only(self):
        make_model("gpt-4o")

        assert loaded().model("GPT-4o") is None

    def test_nothing_that_is_not_there(self):
        make_model("gpt-4o")

        assert loaded().model("gpt-5") is None

    def test_no_disabled_model(self):
        make_model("gpt-4o", aliases=["large"], enabled=False)

        assert loaded().model("gpt-4o") is None
        assert loaded().model("large") is None


@pytest.mark.django_db
class TestWhereARequestMayGo:
    def test_to_each_route_by_priority(self):
        first, second = make_provider("first"), make_provider("second")
        make_model("m", first, second)

        targets = loaded().model("m").targets

        assert [target.provider_name for target in targets] == ["first", "second"]

    def test_to_each_enabled_upstream_key(self):
        provider = make_provider()
        make_upstream_key(provider, "sk-one", name="one")
        make_upstream_key(provider, "sk-two", name="two")
        make_upstream_key(provider, "sk-off", name="off", enabled=False)
        make_model("m", provider)

        targets = loaded().model("m").targets

        assert [target.api_key for target in targets] == ["sk-one", "sk-two"]

    def test_without_a_key_where_the_provider_has_none(self):
        make_model("m", make_provider())

        (target,) = loaded().model("m").targets

        assert (target.api_key, target.key_id) == ("", None)

    def test_nowhere_when_every_key_is_switched_off(self):
        provider = make_provider()
        make_upstream_key(provider, enabled=False)
        make_model("m", provider)

        assert loaded().model("m").targets == ()

    def test_nowhere_when_no_encryption_key_opens_the_secret(self, settings, caplog):
        provider = make_provider()
        key = make_upstream_key(provider, "sk-sealed-away")
        make_model("m", provider)
        settings.COURIER_ENCRYPTION_KEYS = ["another"]

        with caplog.at_level(logging.WARNING):
            targets = loaded().model("m").targets

        assert targets == ()
        assert f"upstream key {key.pk}" in caplog.text
        assert "sk-sealed-away" not in caplog.text

    def test_not_over_a_disabled_route(self):
        model = make_model("m")
        make_route(model, make_provider(), enabled=False)

        assert loaded().model("m").targets == ()

    def test_not_to_a_disabled_provider(self):
        make_model("m", make_provider(enabled=False))

        assert loaded().model("m").targets == ()

    def test_not_to_a_kind_that_production_does_not_offer(self, settings):
        make_model("m", make_provider(kind="chaos", base_url=""))
        settings.PRODUCTION = True

        assert loaded().model("m").targets == ()

    def test_to_the_kinds_own_address_where_none_is_given(self):
        make_model("m", make_provider(kind="openai", base_url=""))

        (target,) = loaded().model("m").targets

        assert target.base_url == "https://api.openai.com/v1"

    def test_and_the_secret_is_not_in_what_is_printed(self):
        provider = make_provider()
        make_upstream_key(provider, "sk-printed")
        make_model("m", provider)

        assert "sk-printed" not in repr(loaded())


@pytest.mark.django_db
class TestATestRequest:
    def test_goes_to_each_usable_key_of_a_provider_without_a_route(self):
        provider = make_provider("new")
        make_upstream_key(provider, "sk-one", name="one")
        make_upstream_key(provider, "sk-off", name="off", enabled=False)

        (target,) = snapshot.targets_to(provider, "tiny")

        assert (target.api_key, target.upstream_model) == ("sk-one", "tiny")


def test_loading_takes_as_many_queries_for_many_providers_as_for_one(db, django_assert_num_queries):
    make_model("m", *[make_provider() for _ in range(10)])

    with django_assert_num_queries(5):
        loaded()


@pytest.mark.django_db
class TestRefresh:
    def test_an_unchanged_configuration_is_not_loaded_again(self):
        make_model("m")

        assert [snapshot.refresh(), snapshot.refresh()] == [True, False]

    def test_a_change_is_loaded(self):
        snapshot.refresh()
        make_model("later")

        snapshot.refresh()

        assert snapshot.current().model("later")

    def test_listeners_are_told_before_the_new_snapshot_is_in_force(self):
        make_model("m")
        seen = []
        snapshot.on_change(lambda: seen.append(snapshot.current().model("m")))

        snapshot.refresh()

        assert seen == [None]

    def test_an_empty_configuration_counts_as_loaded(self):
        assert not snapshot.is_loaded()

        Revision.bump()
        snapshot.refresh()

        assert snapshot.is_loaded()


@pytest.mark.django_db
class TestPriceInForce:
    @pytest.fixture
    def model(self):
        model = make_model("m")
        make_price(model, input="1", starts_at=NEW_YEAR)
        make_price(model, input="2", starts_at=NEW_YEAR + timedelta(days=31))
        return loaded().model("m")

    def test_none_before_the_first(self, model):
        assert model.price_at(NEW_YEAR - timedelta(microseconds=1)) is None

    def test_the_first_from_its_very_start(self, model):
        assert model.price_at(NEW_YEAR).input == 1000

    def test_the_first_until_the_next_begins(self, model):
        last_moment = NEW_YEAR + timedelta(days=31) - timedelta(microseconds=1)

        assert model.price_at(last_moment).input == 1000

    def test_the_next_from_its_very_start(self, model):
        assert model.price_at(NEW_YEAR + timedelta(days=31)).input == 2000

    def test_cached_tokens_cost_as_input_where_nothing_else_is_said(self, model):
        price = model.price_at(NEW_YEAR)

        assert (price.cached_input, price.cache_write) == (price.input, price.input)

    def test_a_free_model_has_a_price_of_zero(self):
        PriceRow.objects.create(model=make_model("free"), free=True, starts_at=NEW_YEAR)

        price = loaded().model("free").price_at(NEW_YEAR)

        assert price.cost_nano(TokenUsage(1000, output_tokens=1000)) == 0


def price(**dollars):
    """A price in dollars per million tokens."""
    figures = {"input": "0", "cached_input": "0", "cache_write": "0", "output": "0"} | dollars
    per_token = {name: Decimal(each) * snapshot.NANO_PER_TOKEN for name, each in figures.items()}
    return snapshot.Price(id=1, starts_at=NEW_YEAR, **per_token)


class TestCost:
    def test_a_known_bill(self):
        gpt = price(input="2.50", cached_input="1.25", cache_write="2.50", output="10")
        usage = TokenUsage(input_tokens=1000, cached_input_tokens=400, output_tokens=200)

        # 600 x 2500 + 400 x 1250 + 200 x 10000
        assert gpt.cost_nano(usage) == 4_000_000

    def test_tokens_written_to_a_cache_cost_their_own_price(self):
        claude = price(input="3", cached_input="0.30", cache_write="3.75", output="15")
        usage = TokenUsage(input_tokens=100, cached_input_tokens=30, cache_write_tokens=50)

        assert claude.cost_nano(usage) == 20 * 3000 + 30 * 300 + 50 * 3750

    def test_a_fraction_of_a_nano_dollar_is_rounded_up(self):
        assert price(input="0.0000001").cost_nano(TokenUsage(input_tokens=1)) == 1

    def test_reasoning_is_a_part_of_the_output(self):
        usage = TokenUsage(output_tokens=10, reasoning_tokens=8)

        assert price(output="1").cost_nano(usage) == 10_000

    def test_more_cached_than_input_tokens_never_earn_money(self):
        usage = TokenUsage(input_tokens=10, cached_input_tokens=30)

        assert price(input="1", cached_input="0.5").cost_nano(usage) == 15_000


tokens = st.integers(0, 10**9)
dollars = st.decimals(0, 10_000, places=6)
usages = st.builds(TokenUsage, tokens, tokens, tokens, tokens, tokens)
prices = st.builds(price, input=dollars, cached_input=dollars, cache_write=dollars, output=dollars)


@given(prices, usages)
def test_a_cost_is_never_negative(any_price, usage):
    assert any_price.cost_nano(usage) >= 0


@given(prices, usages, tokens)
def test_more_output_never_costs_less(any_price, usage, more):
    longer = TokenUsage(
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens + more,
    )

    assert any_price.cost_nano(longer) >= any_price.cost_nano(usage)


@given(prices, usages, tokens)
def test_more_input_never_costs_less(any_price, usage, more):
    longer = TokenUsage(
        usage.input_tokens + more,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
    )

    assert any_price.cost_nano(longer) >= any_price.cost_nano(usage)
