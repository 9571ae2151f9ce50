"""Context windows from the shipped list."""

import pytest
from django.urls import reverse
from django.utils import timezone

from registry import price_list, windows
from registry.models import ServedModel
from tests import factories
from tests.courier_site import forms

pytestmark = pytest.mark.django_db

WINDOW = 128_000


@pytest.fixture
def vendor():
    return factories.make_provider("vendor", kind="openai", base_url="")


@pytest.fixture
def listed(vendor):
    model = factories.make_model("m", priced=False)
    factories.make_route(model, vendor, upstream_model="gpt-4o-mini")
    return model


def test_what_the_list_knows_is_entered_and_told(listed):
    (sentence,) = windows.fill_in(listed)

    assert "128,000" in sentence
    assert ServedModel.objects.get().context_window == WINDOW


def test_what_somebody_has_said_stays(listed):
    listed.context_window = 9
    listed.save()

    assert windows.fill_in(listed) == []
    assert ServedModel.objects.get().context_window == 9


def test_routes_that_differ_have_each_their_own(listed, vendor):
    other = factories.make_route(listed, vendor, upstream_model="gpt-3.5-turbo")

    windows.fill_in(listed)

    other.refresh_from_db()
    assert other.context_window not in {None, WINDOW}
    assert listed.routes.get(upstream_model="gpt-4o-mini").context_window == WINDOW
    assert ServedModel.objects.get().context_window is None


def test_a_route_of_which_the_list_knows_nothing_keeps_it_from_the_model(listed):
    factories.make_route(listed, factories.make_provider())

    windows.fill_in(listed)

    assert ServedModel.objects.get().context_window is None


def test_a_manifest_is_left_to_say_it_itself(listed):
    listed.managed_by = "courier.yaml"

    assert windows.fill_in(listed) == []


def test_they_come_with_the_prices(listed):
    comparison = price_list.compare(price_list.models(), timezone.now())

    price_list.write(comparison.writable)

    assert ServedModel.objects.get().context_window == WINDOW


def test_a_model_that_is_added_in_the_admin_has_it(client, vendor):
    client.force_login(factories.make_admin())
    form = forms.model(routes=[forms.route(vendor, "gpt-4o-mini")])

    answer = client.post(reverse("admin:registry_servedmodel_add"), form, follow=True)

    assert ServedModel.objects.get().context_window == WINDOW
    assert "128,000 tokens" in answer.text
