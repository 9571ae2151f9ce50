"""The configuration in memory: what is in it, and what a request costs by it."""

import logging
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.tokens import TokenUsage
from registry import pricing, snapshot
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

    def test_a_key_for_some_models_only_for_those(self):
        provider = make_provider()
        make_upstream_key(provider, allowed_models=["large-*"])
        make_route(make_model("vendor/*"), provider, upstream_model="*")
        make_route(make_model("small"), provider, upstream_model="small-1")

        assert [each.upstream_model for each in loaded().model("vendor/large-2").targets] == [
            "large-2"
        ]
        assert not loaded().model("vendor/small-1").targets
        assert not loaded().model("small").targets

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

    with django_assert_num_queries(7):
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
        model = make_model("m", priced=False)
        make_price(model, input="1", starts_at=NEW_YEAR)
        make_price(model, input="2", starts_at=NEW_YEAR + timedelta(days=31))
        return loaded().model("m")

    def test_none_before_the_first(self, model):
        assert model.price_at(NEW_YEAR - timedelta(microseconds=1)) is None

    def test_the_first_from_its_very_start(self, model):
        assert model.price_at(NEW_YEAR).input == 1_000_000

    def test_the_first_until_the_next_begins(self, model):
        last_moment = NEW_YEAR + timedelta(days=31) - timedelta(microseconds=1)

        assert model.price_at(last_moment).input == 1_000_000

    def test_the_next_from_its_very_start(self, model):
        assert model.price_at(NEW_YEAR + timedelta(days=31)).input == 2_000_000

    def test_a_free_model_has_a_price_of_zero(self):
        make_model("free")

        price = loaded().model("free").price_at(NEW_YEAR)

        assert price.cost_nano(TokenUsage(1000, output_tokens=1000)) == 0


@pytest.mark.django_db
class TestPriceOfARoute:
    @pytest.fixture
    def row(self):
        return make_model("m", make_provider("dear"), make_provider("plain"), priced=False)

    @pytest.fixture
    def of_the_dear_route(self, row):
        dear = row.routes.get(provider__name="dear")
        return make_price(row, route=dear, input="5", starts_at=NEW_YEAR)

    @staticmethod
    def at(moment):
        model = loaded().model("m")
        prices = {t.provider_name: model.price_for(t, moment) for t in model.targets}
        return {name: price and price.input for name, price in prices.items()}

    def test_holds_for_that_route_only(self, row, of_the_dear_route):
        make_price(row, input="1", starts_at=NEW_YEAR)

        assert self.at(NEW_YEAR) == {"dear": 5_000_000, "plain": 1_000_000}

    def test_goes_before_a_younger_one_of_the_model(self, row, of_the_dear_route):
        make_price(row, input="1", starts_at=NEW_YEAR + timedelta(days=1))

        assert self.at(NEW_YEAR + timedelta(days=2))["dear"] == 5_000_000

    def test_leaves_that_of_the_model_in_force_until_it_begins(self, row, of_the_dear_route):
        make_price(row, input="1", starts_at=NEW_YEAR - timedelta(days=2))

        assert self.at(NEW_YEAR - timedelta(days=1))["dear"] == 1_000_000

    def test_does_not_tell_what_other_routes_cost(self, of_the_dear_route):
        model = loaded().model("m")

        assert [t.provider_name for t in model.priced_targets(NEW_YEAR)] == ["dear"]

    def test_is_no_price_of_the_model(self, of_the_dear_route):
        assert loaded().model("m").price_at(NEW_YEAR) is None


@pytest.mark.django_db
class TestTargetsWhosePriceIsKnown:
    """Pain 2 of field.md: a price has three states."""

    def test_none_of_a_model_without_a_price(self):
        make_model("m", make_provider(), priced=False)

        assert loaded().model("m").priced_targets(NEW_YEAR) == ()

    def test_all_of_a_free_model(self):
        make_model("m", make_provider(), make_provider())

        assert len(loaded().model("m").priced_targets(NEW_YEAR)) == 2

    def test_none_before_its_first_price_begins(self):
        make_price(make_model("m", make_provider(), priced=False), starts_at=NEW_YEAR)

        assert loaded().model("m").priced_targets(NEW_YEAR - timedelta(seconds=1)) == ()


def price(**figures):
    """The price of a row with these figures, in dollars, and 0 for input and output."""
    given = {name: Decimal(figure) for name, figure in figures.items()}
    return pricing.price_of(PriceRow(id=1, starts_at=NEW_YEAR, **given))


#: One nano-dollar per token of the class named, and far more for all others of its side.
FALLBACKS = [
    ("cached_input", TokenUsage(1, cached_input_tokens=1), "input"),
    ("cache_write", TokenUsage(1, cache_write_tokens=1), "input"),
    ("cache_write_1h", TokenUsage(1, 0, 1, cache_write_1h_tokens=1), "cache_write"),
    ("audio_input", TokenUsage(1, audio_input_tokens=1), "input"),
    ("reasoning", TokenUsage(output_tokens=1, reasoning_tokens=1), "output"),
    ("audio_output", TokenUsage(output_tokens=1, audio_output_tokens=1), "output"),
]


class TestCost:
    def test_a_known_bill(self):
        gpt = price(input="2.50", cached_input="1.25", cache_write="2.50", output="10")
        usage = TokenUsage(input_tokens=1000, cached_input_tokens=400, output_tokens=200)

        # 600 x 2500 + 400 x 1250 + 200 x 10000
        assert gpt.cost_nano(usage) == 4_000_000

    def test_every_class_at_once(self):
        """Pain 6 of field.md: classes are disjoint, none is charged twice."""
        omni = price(
            input="1",
            cached_input="0.1",
            cache_write="1.25",
            cache_write_1h="2",
            audio_input="40",
            output="10",
            reasoning="12",
            audio_output="80",
            request="0.01",
            image="0.04",
            search_unit="0.002",
        )
        usage = TokenUsage(
            input_tokens=1000,
            cached_input_tokens=300,
            cache_write_tokens=200,
            cache_write_1h_tokens=50,
            audio_input_tokens=100,
            output_tokens=500,
            reasoning_tokens=100,
            audio_output_tokens=40,
            images=2,
            search_units=3,
        )

        tokens_in = 400 * 1000 + 300 * 100 + 150 * 1250 + 50 * 2000 + 100 * 40_000
        tokens_out = 360 * 10_000 + 100 * 12_000 + 40 * 80_000
        others = 10_000_000 + 2 * 40_000_000 + 3 * 2_000_000
        assert omni.cost_nano(usage) == tokens_in + tokens_out + others

    @pytest.mark.parametrize(("name", "usage", "fallback"), FALLBACKS)
    def test_a_class_has_its_own_figure(self, name, usage, fallback):
        assert price(**{fallback: "7", name: "0.001"}).cost_nano(usage) == 1

    @pytest.mark.parametrize(("name", "usage", "fallback"), FALLBACKS)
    def test_a_class_without_a_figure_costs_as_the_one_it_is_a_part_of(self, name, usage, fallback):
        assert price(**{fallback: "0.001"}).cost_nano(usage) == 1

    def test_an_hours_cache_write_costs_as_input_where_no_write_has_a_figure(self):
        usage = TokenUsage(1, cache_write_tokens=1, cache_write_1h_tokens=1)

        assert price(input="0.001").cost_nano(usage) == 1

    def test_an_answer_without_any_tokens_costs_what_a_request_does(self):
        assert price(request="0.000001").cost_nano(TokenUsage()) == 1000

    def test_a_fraction_of_a_nano_dollar_is_rounded_up(self):
        assert price(input="0.000001").cost_nano(TokenUsage(input_tokens=1)) == 1

    def test_it_is_rounded_once_and_not_for_each_class(self):
        usage = TokenUsage(input_tokens=500, output_tokens=500)

        assert price(input="0.000001", output="0.000001").cost_nano(usage) == 1

    def test_more_cached_than_input_tokens_never_earn_money(self):
        usage = TokenUsage(input_tokens=10, cached_input_tokens=30)

        assert price(input="1", cached_input="0.5").cost_nano(usage) == 15_000


tokens = st.integers(0, 10**9)
dollars = st.decimals(0, 10_000, places=6)
optional = st.none() | dollars
usages = st.builds(TokenUsage, *[tokens] * 10)
#: Usage as dialects read it: no part is larger than what it is a part of.
parts = st.builds(
    lambda plain, cached, write, hour, audio, spoken, thought, said: TokenUsage(
        input_tokens=plain + cached + write + hour + audio,
        cached_input_tokens=cached,
        cache_write_tokens=write + hour,
        cache_write_1h_tokens=hour,
        audio_input_tokens=audio,
        output_tokens=spoken + thought + said,
        reasoning_tokens=thought,
        audio_output_tokens=said,
    ),
    *[tokens] * 8,
)
rows = st.fixed_dictionaries(
    {name: dollars if name in ("input", "output") else optional for name in PriceRow.FIGURES}
)
prices = rows.map(lambda row: pricing.price_of(PriceRow(id=1, starts_at=NEW_YEAR, **row)))
#: One more token of each class, with the whole that it is a part of, and one more of the rest.
ONE_MORE = [
    ("input_tokens",),
    ("input_tokens", "cached_input_tokens"),
    ("input_tokens", "cache_write_tokens"),
    ("input_tokens", "cache_write_tokens", "cache_write_1h_tokens"),
    ("input_tokens", "audio_input_tokens"),
    ("output_tokens",),
    ("output_tokens", "reasoning_tokens"),
    ("output_tokens", "audio_output_tokens"),
    ("images",),
    ("search_units",),
]


class TestMoney:
    """S-40: whole nano-dollars, never negative, and never less for more."""

    @given(prices, usages)
    def test_a_cost_is_a_whole_number_and_never_negative(self, any_price, usage):
        cost = any_price.cost_nano(usage)

        assert isinstance(cost, int)
        assert cost >= 0

    @given(prices, usages, st.sampled_from(ONE_MORE), tokens)
    def test_more_of_anything_never_costs_less(self, any_price, usage, classes, more):
        grown = {name: getattr(usage, name) + more for name in classes}

        assert any_price.cost_nano(replace(usage, **grown)) >= any_price.cost_nano(usage)

    @given(rows, parts)
    def test_it_is_the_exact_sum_rounded_up(self, row, usage):
        def figure(name, *fallbacks):
            return next(row[each] for each in (name, *fallbacks) if row[each] is not None)

        exact = sum(
            Fraction(figure(*names)) * 1000 * count
            for names, count in (
                (("input",), usage.input_tokens - usage.cached_input_tokens
                 - usage.cache_write_tokens - usage.audio_input_tokens),
                (("cached_input", "input"), usage.cached_input_tokens),
                (("cache_write", "input"), usage.cache_write_tokens - usage.cache_write_1h_tokens),
                (("cache_write_1h", "cache_write", "input"), usage.cache_write_1h_tokens),
                (("audio_input", "input"), usage.audio_input_tokens),
                (("output",), usage.output_tokens - usage.reasoning_tokens
                 - usage.audio_output_tokens),
                (("reasoning", "output"), usage.reasoning_tokens),
                (("audio_output", "output"), usage.audio_output_tokens),
            )
        ) + Fraction(row["request"] or 0) * 10**9  # fmt: skip

        any_price = pricing.price_of(PriceRow(id=1, starts_at=NEW_YEAR, **row))
        assert any_price.cost_nano(usage) == math.ceil(exact)

    @given(prices, parts)
    def test_what_is_held_before_the_call_covers_any_mix_of_classes(self, any_price, usage):
        held = any_price.hold_nano(usage.input_tokens, usage.output_tokens)

        assert held >= any_price.cost_nano(usage)


costs = st.integers(0, 10**15)
markups = st.integers(-10_000, 100_000)


class TestMarkup:
    def test_half_a_percent_is_added(self):
        assert pricing.charged_nano(1_000_000, 50) == 1_005_000

    def test_none_changes_nothing(self):
        assert pricing.charged_nano(123_456_789, 0) == 123_456_789

    def test_a_discount_is_taken_off_and_a_fraction_is_rounded_up(self):
        assert pricing.charged_nano(3, -5000) == 2

    def test_a_discount_of_everything_leaves_nothing(self):
        assert pricing.charged_nano(3, -10_000) == 0

    def test_more_than_everything_is_never_paid_out(self):
        assert pricing.charged_nano(3, -20_000) == 0

    @given(costs, markups, costs)
    def test_a_dearer_answer_is_never_charged_less(self, cost, markup, more):
        charged = pricing.charged_nano(cost, markup)

        assert 0 <= charged <= pricing.charged_nano(cost + more, markup)
