"""Models and prices in the admin."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from registry.models import Alias, Intervention, Price, Route, ServedModel
from tests.courier_site import forms
from tests.factories import make_model, make_price, make_provider, make_route

pytestmark = pytest.mark.django_db

ADD = "/admin/registry/servedmodel/add/"
LIST = "/admin/registry/servedmodel/"
ADD_PRICE = "/admin/registry/price/add/"
PRICES = "/admin/registry/price/"


@pytest.fixture
def provider():
    return make_provider("openai")


def add(browser, **form):
    return browser.post(ADD, forms.model(**form))


def said(answer):
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


class TestModel:
    def test_is_made_with_its_routes_prices_and_aliases(self, browser, provider):
        answer = add(
            browser,
            routes=[forms.route(provider)],
            prices=[forms.price()],
            aliases=[{"name": "large"}],
        )

        assert answer.status_code == 302
        model = ServedModel.objects.get(name="gpt-4o")
        assert model.routes.get().upstream_model == "tiny"
        assert model.prices.get().input == Decimal(1)
        assert model.aliases.get().name == "large"

    def test_may_have_slashes_and_end_in_a_wildcard(self, browser):
        assert add(browser, name="vendor/family/*").status_code == 302

    def test_without_a_route_is_saved_with_a_warning(self, browser):
        answer = add(browser)

        assert answer.status_code == 302
        assert "has no route that can be used" in said(answer)

    def test_without_a_price_is_saved_with_a_warning(self, browser, provider):
        answer = add(browser, routes=[forms.route(provider)])

        assert "has no price" in said(answer)
        assert "has no route" not in said(answer)

    def test_that_lacks_nothing_is_saved_without_a_warning(self, browser, provider):
        answer = add(browser, routes=[forms.route(provider)], prices=[forms.price()])

        assert "has no" not in said(answer)

    def test_can_be_renamed_with_its_former_name_as_an_alias(self, browser):
        model = make_model("before")
        page = reverse("admin:registry_servedmodel_change", args=(model.pk,))

        answer = browser.post(page, forms.model(name="after", aliases=[{"name": "before"}]))

        assert answer.status_code == 302
        assert Alias.objects.get().name == "before"

    def test_can_take_its_alias_for_its_name_when_the_alias_goes(self, browser):
        model = make_model("before", aliases=["after"])
        page = reverse("admin:registry_servedmodel_change", args=(model.pk,))
        gone = {"id": model.aliases.get().pk, "name": "after", "DELETE": "on"}

        sent = forms.model(name="after") | forms.inline("aliases", gone, initial=1)
        answer = browser.post(page, sent)

        assert answer.status_code == 302
        assert not Alias.objects.exists()


class TestBadModel:
    @pytest.mark.parametrize(
        "name",
        ["", "with space", "-first", "emoji🙂", "a*b", "**", "tab\tin", "nul\x00", "a" * 201],
    )
    def test_a_name_that_clients_could_not_ask_for_is_refused(self, browser, name):
        assert "name" in forms.complaints(add(browser, name=name))

    def test_an_empty_name_is_complained_of_once(self, browser):
        assert forms.complaints(add(browser, name=""))["name"] == "This field is required."

    def test_the_name_of_another_model_is_refused(self, browser):
        make_model("gpt-4o")

        assert "name" in forms.complaints(add(browser))

    def test_the_alias_of_another_model_is_refused(self, browser):
        make_model("other", aliases=["gpt-4o"])

        sentence = "The model “other” has this name as an alias."
        assert forms.complaints(add(browser))["name"] == sentence

    @pytest.mark.parametrize("attempts", ["0", "11", "-1", "9" * 30, "many"])
    def test_a_number_of_attempts_out_of_range_is_refused(self, browser, attempts):
        assert "max_attempts" in forms.complaints(add(browser, max_attempts=attempts))

    def test_an_unknown_strategy_is_refused(self, browser):
        assert "strategy" in forms.complaints(add(browser, strategy="luck"))


class TestBadAlias:
    def complaint(self, browser, *names, **form):
        answer = add(browser, aliases=[{"name": name} for name in names], **form)
        found = forms.complaints(answer)
        return found.get("aliases.name") or found["aliases"]

    def test_the_name_of_another_model_is_refused(self, browser):
        make_model("taken")

        assert self.complaint(browser, "taken") == "Another model has this name itself."

    def test_the_model_s_own_name_is_refused(self, browser):
        assert self.complaint(browser, "gpt-4o") == "This is the name of the model itself."

    def test_the_alias_of_another_model_is_refused(self, browser):
        make_model("other", aliases=["taken"])

        assert "already exists" in self.complaint(browser, "taken")

    def test_the_same_alias_twice_is_refused(self, browser):
        assert self.complaint(browser, "twice", "twice") == "Two aliases are the same."

    def test_a_wildcard_is_refused(self, browser):
        assert "wildcard" in self.complaint(browser, "vendor/*")

    @pytest.mark.parametrize("name", ["with space", "nul\x00", "a" * 201])
    def test_a_name_that_clients_could_not_ask_for_is_refused(self, browser, name):
        assert self.complaint(browser, name)


class TestBadRoute:
    def complaints(self, browser, *routes):
        return forms.complaints(add(browser, routes=routes))

    def test_the_same_route_twice_is_refused(self, browser, provider):
        found = self.complaints(browser, forms.route(provider), forms.route(provider))

        sentence = "Two routes lead to the same upstream model of the same provider."
        assert found["routes.upstream_model"] == sentence

    def test_a_route_that_is_there_already_is_refused(self, browser, provider):
        model = make_model("gpt-4o")
        make_route(model, provider, upstream_model="tiny")
        page = reverse("admin:registry_servedmodel_change", args=(model.pk,))

        answer = browser.post(page, forms.model(routes=[forms.route(provider)]))

        sentence = "Two routes lead to the same upstream model of the same provider."
        assert forms.complaints(answer)["routes.upstream_model"] == sentence
        assert Route.objects.count() == 1

    def test_a_route_may_be_made_anew_in_the_form_that_deletes_it(self, browser, provider):
        model = make_model("gpt-4o")
        route = make_route(model, provider, upstream_model="tiny")
        page = reverse("admin:registry_servedmodel_change", args=(model.pk,))
        rows = [forms.route(provider, id=route.pk, DELETE="on"), forms.route(provider)]

        sent = forms.model() | forms.inline("routes", *rows, initial=1)
        answer = browser.post(page, sent)

        assert answer.status_code == 302
        assert Route.objects.get().pk != route.pk

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("provider", "987654321"),
            ("provider", "9" * 40),
            ("provider", "x"),
            ("upstream_model", ""),
            ("upstream_model", "nul\x00"),
            ("upstream_model", "a" * 201),
            ("priority", "-1"),
            ("priority", "9" * 30),
            ("weight", "1001"),
            ("weight", "-1"),
        ],
    )
    def test_bad_input_is_answered_at_its_field(self, browser, provider, field, value):
        found = self.complaints(browser, forms.route(provider, **{field: value}))

        assert f"routes.{field}" in found


class TestPrice:
    @pytest.fixture
    def model(self):
        return make_model("gpt-4o", priced=False)

    def add(self, browser, model, **changed):
        return browser.post(ADD_PRICE, forms.price(model=model.pk, **changed))

    def test_is_kept_to_the_last_digit(self, browser, model):
        self.add(browser, model, input="0.150001")

        assert Price.objects.get().input == Decimal("0.150001")

    def test_a_free_one_needs_no_figures(self, browser, model):
        self.add(browser, model, free="on", input="", output="")

        assert Price.objects.get().free

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("input", "-1"),
            ("input", "1.0000001"),
            ("input", "9999999"),
            ("input", "1e99"),
            ("input", "NaN"),
            ("input", "free"),
            ("output", "-0.01"),
            ("cached_input", "-1"),
            ("cache_write", "9" * 50),
            ("starts_at", None),
        ],
    )
    def test_a_figure_that_is_none_is_answered_at_its_field(self, browser, model, field, value):
        changed = {field: value} if value else {"starts_at_0": "yesterday"}

        assert field in forms.complaints(self.add(browser, model, **changed))

    def test_a_free_one_with_figures_is_refused(self, browser, model):
        found = forms.complaints(self.add(browser, model, free="on"))

        assert found["free"] == "A free model has no figures: clear them, or untick."

    def test_one_with_no_figures_is_not_taken_for_free(self, browser, model):
        found = forms.complaints(self.add(browser, model, input="0", output=""))

        assert found["input"] == "Enter what it costs, or tick “free”."

    def test_a_second_from_the_same_moment_is_refused(self, browser, model):
        self.add(browser, model)

        assert forms.complaints(self.add(browser, model))

    def test_two_from_the_same_moment_in_one_form_are_refused(self, browser):
        answer = add(browser, prices=[forms.price(), forms.price()])

        sentence = "Two prices begin at the same moment."
        assert forms.complaints(answer)["prices.starts_at"] == sentence

    def test_figures_are_shown_without_zeros_at_their_end(self, browser, model):
        price = make_price(model, input="2.5", output="10")
        page = reverse("admin:registry_price_change", args=(price.pk,))

        shown = browser.get(page).text

        assert 'value="2.5"' in shown
        assert 'value="10"' in shown

    def test_a_row_that_was_not_touched_counts_as_unchanged(self, browser, model):
        price = make_price(model, input="2.5", output="10", starts_at="2026-01-01T00:00:00Z")
        page = reverse("admin:registry_price_change", args=(price.pk,))
        form = browser.get(page).context["adminform"].form

        sent = {name: form[name].value() for name in ("model", "input", "output")}
        moment = {"starts_at_0": "2026-01-01", "starts_at_1": "00:00:00"}
        sent |= moment | {f"initial-{name}": value for name, value in moment.items()}
        browser.post(page, sent)

        assert LogEntry.objects.latest("pk").get_change_message() == "No fields changed."


class TestLists:
    def test_routes_are_written_in_the_order_of_trying(self, browser):
        model = make_model("gpt-4o")
        make_route(model, make_provider("fallback"), upstream_model="small", priority=1)
        make_route(model, make_provider("first"), upstream_model="large", priority=0)

        shown = browser.get(LIST).text

        assert shown.index("first / large") < shown.index("fallback / small")

    @pytest.mark.parametrize(
        ("fields", "state"),
        [({"input": "1"}, "priced"), ({"input": "0", "output": "0", "free": True}, "free")],
    )
    def test_the_price_in_force_is_named(self, browser, fields, state):
        make_price(make_model("gpt-4o"), **fields)

        assert state in browser.get(LIST).text

    def test_a_model_without_a_price_is_not_called_free(self, browser):
        make_model("gpt-4o", priced=False)

        shown = browser.get(LIST).text

        assert "unknown" in shown
        assert "free" not in shown

    @pytest.mark.parametrize("state", ["now", "later", "past"])
    def test_prices_can_be_filtered_by_their_state(self, browser, state):
        model = make_model("gpt-4o", priced=False)
        moments = {"past": "2020-01-01", "now": "2021-01-01", "later": "2090-01-01"}
        for moment in moments.values():
            make_price(model, starts_at=f"{moment}T00:00:00Z")

        rows = browser.get(PRICES, {"state": state}).context["cl"].result_list

        assert [f"{row.starts_at:%Y-%m-%d}" for row in rows] == [moments[state]]


def test_a_model_is_deleted_with_all_that_was_done_with_it(browser):
    route = make_route(make_model("m"), make_provider())
    until = timezone.now() + timedelta(hours=1)
    Intervention.objects.create(route=route, until=until, begun_by="root")
    make_price(route.model, withdrawn_at=timezone.now())

    delete = reverse("admin:registry_servedmodel_delete", args=(route.model_id,))
    browser.post(delete, {"post": "yes", "impact_seen": "yes"})

    assert not ServedModel.objects.exists()
