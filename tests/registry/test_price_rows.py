"""Price rows: one that has begun is never changed, for records name it."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection
from django.utils import timezone

from registry import snapshot
from registry.models import Price
from tests.factories import make_model, make_price, make_provider

pytestmark = pytest.mark.django_db

YESTERDAY = timezone.now() - timedelta(days=1)
TOMORROW = timezone.now() + timedelta(days=1)


@pytest.fixture
def model():
    return make_model("m", priced=False)


@pytest.mark.parametrize("name", Price.FIGURES)
@pytest.mark.parametrize("figure", ["-0.000001", "0.0000001", "1000000", "NaN"])
def test_s40_a_figure_that_makes_no_sense_is_refused(model, name, figure):
    with pytest.raises(ValidationError) as refused:
        Price(model=model, **{name: Decimal(figure)}).full_clean()

    assert set(refused.value.message_dict) == {name}


@pytest.mark.parametrize("name", Price.FIGURES)
def test_s40_the_database_takes_no_figure_below_nothing(model, name):
    with pytest.raises(IntegrityError, match="registry_price_not_negative"):
        make_price(model, **{name: Decimal(-1)})


class TestOneThatHasBegun:
    @pytest.fixture
    def price(self, model):
        return make_price(model, input="1", starts_at=YESTERDAY, source="a list")

    def change(self, price):
        price.input = Decimal(2)
        price.save()
        return price

    def test_keeps_its_figures(self, price):
        before = price.pk

        self.change(price)

        assert Price.objects.get(pk=before).input == 1

    def test_has_another_in_its_place_once_it_is_changed(self, price):
        before = price.pk

        after = self.change(price)

        assert after.pk != before
        assert snapshot.load(1).model("m").price_at(timezone.now()).id == after.pk

    def test_no_longer_says_that_it_is_as_listed_once_it_is_changed(self, price):
        assert self.change(price).source == ""

    def test_is_not_replaced_by_a_save_without_a_change(self, price):
        before = price.pk

        price.save()

        assert Price.objects.get().pk == before

    def test_is_kept_when_it_is_deleted(self, price):
        price.delete()

        assert Price.objects.get().withdrawn_at

    def test_is_not_in_force_once_it_was_withdrawn(self, price):
        price.delete()

        assert snapshot.load(1).model("m").price_at(timezone.now()) is None


class TestOneToCome:
    @pytest.fixture
    def price(self, model):
        return make_price(model, input="1", starts_at=TOMORROW)

    def test_is_changed_in_its_place(self, price):
        before = price.pk
        price.input = Decimal(2)
        price.save()

        assert Price.objects.get().pk == before

    def test_is_deleted_for_good(self, price):
        price.delete()

        assert not Price.objects.exists()


class TestTwoFromOneMoment:
    def test_of_one_model_are_refused(self, model):
        make_price(model, starts_at=YESTERDAY)

        with pytest.raises(ValidationError, match="same moment"):
            Price(model=model, starts_at=YESTERDAY, input=1).full_clean()

    def test_are_allowed_for_a_model_and_its_route(self, model):
        make_price(model, starts_at=YESTERDAY)
        route = make_model("n", make_provider()).routes.get()
        route.model = model
        route.save()

        Price(model=model, route=route, starts_at=YESTERDAY, input=1).full_clean()

    def test_are_allowed_if_the_other_was_withdrawn(self, model):
        make_price(model, starts_at=YESTERDAY).withdraw()

        Price(model=model, starts_at=YESTERDAY, input=1).full_clean()

    def test_are_refused_by_the_database_too(self, model):
        if connection.vendor != "postgresql":
            pytest.skip("SQLite does not hold this constraint.")
        make_price(model, starts_at=YESTERDAY)

        with pytest.raises(IntegrityError):
            make_price(model, starts_at=YESTERDAY)


def test_a_route_of_another_model_is_refused(model):
    route = make_model("other", make_provider()).routes.get()

    with pytest.raises(ValidationError, match="route of another model"):
        Price(model=model, route=route, input=1).full_clean()
