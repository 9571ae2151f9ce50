"""Prices in the admin: those that have begun, those of routes, and those of the shipped list."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from registry import catalog
from registry.models import Price
from tests.courier_site import forms
from tests.factories import make_model, make_price, make_provider, make_user

pytestmark = pytest.mark.django_db

PRICES = "/admin/registry/price/"
LIST = f"{PRICES}list/"
MODELS = "/admin/registry/servedmodel/"


@pytest.fixture
def openai():
    return make_provider("openai", base_url="https://api.openai.com/v1")


@pytest.fixture
def model(openai):
    return make_model("gpt-4o-mini", openai, priced=False)


def page_of(price):
    return reverse("admin:registry_price_change", args=(price.pk,))


class TestEveryFigure:
    def test_can_be_entered(self, browser, model):
        figures = {name: str(number) for number, name in enumerate(Price.FIGURES, 1)}

        browser.post(f"{PRICES}add/", forms.price(model=model.pk, **figures))

        row = Price.objects.get()
        assert [getattr(row, name) for name in Price.FIGURES] == list(range(1, 12))

    def test_is_on_the_list(self, browser, model):
        make_price(model, audio_output=Decimal("64"), search_unit=Decimal("0.01"))

        shown = browser.get(PRICES).text

        assert "audio output $64.00, search $0.01" in shown

    @pytest.mark.parametrize("name", Price.FIGURES)
    def test_below_nothing_is_refused_at_its_field(self, browser, model, name):
        answer = browser.post(f"{PRICES}add/", forms.price(model=model.pk, **{name: "-1"}))

        assert name in forms.complaints(answer)


class TestOneThatHasBegun:
    @pytest.fixture
    def price(self, model):
        begun = datetime(2026, 1, 1, tzinfo=UTC)
        return make_price(model, input="1", reasoning=Decimal(3), starts_at=begun)

    def test_says_what_a_change_does(self, browser, price):
        assert "puts a new price in its place" in browser.get(page_of(price)).text

    def test_is_withdrawn_and_replaced_by_a_change(self, browser, price):
        sent = forms.price(model=price.model_id, input="5", reasoning="3")

        browser.post(page_of(price), sent)

        price.refresh_from_db()
        assert (price.input, bool(price.withdrawn_at)) == (1, True)
        assert Price.objects.standing().get().input == 5

    def test_is_replaced_by_a_change_in_its_model_s_page_with_all_its_figures(self, browser, price):
        row = forms.price(id=price.pk, input="5", output="2")
        sent = forms.model(name="gpt-4o-mini") | forms.inline("prices", row, initial=1)

        browser.post(reverse("admin:registry_servedmodel_change", args=(price.model_id,)), sent)

        standing = Price.objects.standing().get()
        assert (standing.input, standing.reasoning) == (5, 3)
        assert standing.pk != price.pk

    @pytest.mark.parametrize("way", ["page", "action"])
    def test_is_kept_when_it_is_deleted(self, browser, price, way):
        if way == "page":
            browser.post(reverse("admin:registry_price_delete", args=(price.pk,)), {"post": "yes"})
        else:
            chosen = {"action": "delete_selected", "_selected_action": price.pk, "post": "yes"}
            browser.post(PRICES, chosen)

        price.refresh_from_db()
        assert price.withdrawn_at

    def test_cannot_be_changed_once_it_was_withdrawn(self, browser, price):
        price.withdraw()

        answer = browser.post(page_of(price), forms.price(model=price.model_id, input="5"))

        assert answer.status_code == 403
        assert "withdrawn" in browser.get(page_of(price)).text


class TestRoute:
    def test_of_another_model_is_refused_at_its_field(self, browser, model):
        other = make_model("other", make_provider()).routes.get()

        answer = browser.post(f"{PRICES}add/", forms.price(model=model.pk, route=other.pk))

        assert forms.complaints(answer)["route"] == "This is a route of another model."

    @pytest.mark.parametrize("place", ["price", "model"])
    def test_only_those_of_the_model_are_offered(self, browser, model, place):
        make_model("other", make_provider("elsewhere"))
        price = make_price(model)
        model_page = reverse("admin:registry_servedmodel_change", args=(model.pk,))

        shown = browser.get(page_of(price) if place == "price" else model_page).text

        assert "openai / gpt-4o-mini" in shown
        assert "elsewhere / other" not in shown

    def test_and_the_model_may_each_have_a_price_from_the_same_moment(self, browser, model):
        browser.post(f"{PRICES}add/", forms.price(model=model.pk))
        browser.post(f"{PRICES}add/", forms.price(model=model.pk, route=model.routes.get().pk))

        assert Price.objects.count() == 2


class TestTakingFromTheList:
    def ticked(self, browser, query=""):
        """The form of the page with every box ticked, as a browser sends it."""
        page = browser.get(f"{LIST}{query}").context
        proposals = page["comparison"].writable
        return {
            "start": page["start"].isoformat(),
            "take": [proposal.identity for proposal in proposals],
        }

    def test_shows_the_difference_and_writes_nothing(self, browser, model):
        shown = browser.get(LIST).text

        assert "openai / gpt-4o-mini" in shown
        assert "$0.15" in shown
        assert not Price.objects.exists()

    def test_brings_the_words_that_its_scripts_ask_for(self, browser, model):
        page = browser.get(LIST).text

        assert page.index(reverse("admin:jsi18n")) < page.index("admin/js/")

    def test_writes_what_is_ticked(self, browser, model):
        browser.post(LIST, self.ticked(browser))

        row = Price.objects.get()
        assert (row.input, row.source) == (Decimal("0.15"), catalog.SOURCE)

    def test_writes_nothing_that_is_not_ticked(self, browser, model):
        browser.post(LIST, self.ticked(browser) | {"take": []})

        assert not Price.objects.exists()

    def test_is_in_the_history(self, browser, model):
        browser.post(LIST, self.ticked(browser))

        assert catalog.SOURCE in LogEntry.objects.get().get_change_message()

    def test_holds_from_the_day_that_was_chosen(self, browser, model):
        query = "?day=2026-11-01"

        browser.post(LIST + query, self.ticked(browser, query))

        assert Price.objects.get().starts_at == datetime(2026, 11, 1, tzinfo=UTC)

    def test_sent_twice_writes_once(self, browser, model):
        sent = self.ticked(browser)

        browser.post(LIST, sent)
        second = browser.post(LIST, sent, follow=True)

        assert Price.objects.count() == 1
        assert "have changed since the page was made" in second.text

    def test_writes_nothing_where_the_price_has_changed_meanwhile(self, browser, model):
        sent = self.ticked(browser)
        make_price(model, starts_at=timezone.now() - timedelta(days=1))

        browser.post(LIST, sent)

        assert Price.objects.count() == 1

    def test_shows_models_of_a_manifest_without_a_box(self, browser, model):
        model.managed_by = "courier.yaml"
        model.save()

        shown = browser.get(LIST).text

        assert "courier.yaml" in shown
        assert 'name="take"' not in shown

    def test_names_what_the_list_does_not_have(self, browser):
        make_model("house-blend", make_provider())

        assert "house-blend" in browser.get(LIST).text

    def test_is_offered_for_chosen_models(self, browser, model, openai):
        other = make_model("gpt-4.1-mini", openai, priced=False)
        chosen = {"action": "take_prices", "_selected_action": other.pk}

        answer = browser.post(MODELS, chosen, follow=True)

        assert "gpt-4.1-mini" in answer.text
        assert "openai / gpt-4o-mini" not in answer.text

    @pytest.mark.parametrize("query", ["?models=x", "?models=" + "9" * 40, "?day=soon"])
    def test_what_no_page_asks_for_is_left_out(self, browser, model, query):
        assert browser.get(LIST + query).status_code == 200

    def test_is_for_those_who_may_add_prices(self, client, model):
        person = make_user(is_staff=True)
        person.user_permissions.add(Permission.objects.get(codename="view_price"))
        client.force_login(person)

        assert client.get(LIST).status_code == 403
        assert client.post(LIST, {"take": ["x"]}).status_code == 403
