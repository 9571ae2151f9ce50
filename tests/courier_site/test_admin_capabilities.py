"""What models, routes and providers can do, in the admin."""

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from registry.capabilities import TRAITS, Capabilities
from registry.models import Provider, ServedModel
from tests import factories
from tests.courier_site import forms

pytestmark = pytest.mark.django_db

UNKNOWN = dict.fromkeys(TRAITS, "unknown")


@pytest.fixture
def browser(client):
    client.force_login(factories.make_admin())
    return client


@pytest.fixture
def provider():
    return factories.make_provider("local")


@pytest.fixture
def route(provider):
    return factories.make_model("m", provider, vision=True).routes.get()


def page_of(row):
    return reverse(f"admin:registry_{row._meta.model_name}_change", args=(row.pk,))


def send_route(browser, route, **changed):
    fields = {"priority": "0", "weight": "1", "enabled": "on", **UNKNOWN, **changed}
    return browser.post(page_of(route), fields)


def test_a_new_model_knows_nothing_of_itself_unless_told(browser, provider):
    browser.post(
        reverse("admin:registry_servedmodel_add"),
        forms.model(routes=[forms.route(provider)], **UNKNOWN),
    )

    assert ServedModel.objects.get().capabilities == Capabilities()


def test_what_is_told_of_a_model_is_stored(browser, provider):
    told = UNKNOWN | {"tools": "true", "vision": "false", "context_window": "8192"}
    browser.post(
        reverse("admin:registry_servedmodel_add"),
        forms.model(routes=[forms.route(provider)], on_unsupported="refuse", **told),
    )

    model = ServedModel.objects.get()
    assert model.capabilities == Capabilities(context_window=8192, tools=True, vision=False)
    assert model.on_unsupported == "refuse"


def test_a_mistake_in_what_a_model_can_do_is_not_folded_away(browser, provider):
    wrong = forms.model(routes=[forms.route(provider)], **UNKNOWN, context_window="-5")

    answer = browser.post(reverse("admin:registry_servedmodel_add"), wrong)

    assert forms.complaints(answer).keys() == {"context_window"}
    assert "<details>" not in answer.content.decode()


def test_a_window_of_no_tokens_is_none(browser, provider):
    answer = browser.post(
        reverse("admin:registry_servedmodel_add"),
        forms.model(routes=[forms.route(provider)], context_window="0", **UNKNOWN),
    )

    assert "greater than or equal to 1" in forms.complaints(answer)["context_window"]


def test_a_route_says_only_what_differs(browser, route):
    send_route(browser, route, vision="false", requires_certified=["tools", "stop"])

    route.refresh_from_db()
    assert route.capabilities == Capabilities(vision=False)
    assert route.requires_certified == ["tools", "stop"]


def test_after_a_route_comes_its_model(browser, route):
    assert send_route(browser, route).headers["location"] == page_of(route.model)


def test_a_trait_that_is_none_cannot_be_demanded(browser, route):
    answer = send_route(browser, route, requires_certified=["charm"])

    assert "requires_certified" in answer.context["adminform"].form.errors


def test_a_route_of_a_manifest_is_changed_there(browser, route):
    ServedModel.objects.update(managed_by="courier.yaml")

    send_route(browser, route, vision="false")

    route.refresh_from_db()
    assert route.vision is None


def test_what_a_route_of_a_manifest_demands_is_told_in_words(browser, route):
    ServedModel.objects.update(managed_by="courier.yaml")
    asked = page_of(route)

    nothing = browser.get(asked).content.decode()
    route.requires_certified = ["json_schema"]
    route.save()
    something = browser.get(asked).content.decode()

    assert "nothing" in nothing.partition("Only if certified for")[2]
    assert "JSON schema" in something.partition("Only if certified for")[2]


def test_a_route_that_waits_for_its_certification_says_so_here_and_at_its_model(browser, route):
    route.requires_certified = ["json_schema"]
    route.save()

    for page in (page_of(route), page_of(route.model)):
        text = browser.get(page).text
        assert "not used" in text
        assert "not certified for: JSON schema" in text


def test_the_list_of_models_says_which_routes_wait_for_a_certification(browser, route):
    route.requires_certified = ["json_schema"]
    route.save()

    text = browser.get(reverse("admin:registry_servedmodel_changelist")).text

    assert "local / m (not certified)" in text


def test_those_who_may_only_look_see_what_it_can_do(client, route):
    viewer = factories.make_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)

    assert client.get(page_of(route)).status_code == 200
    assert client.get(page_of(route.provider)).status_code == 200


def add_provider(browser, **changed):
    return browser.post(reverse("admin:registry_provider_add"), forms.provider(**changed))


def test_formats_that_a_server_speaks_are_ticked(browser):
    add_provider(browser, option_speaks=["openai-responses", "anthropic-messages"])

    assert Provider.objects.get().options == {"speaks": ["openai-responses", "anthropic-messages"]}


def test_nothing_ticked_is_nothing_stored(browser):
    add_provider(browser)

    assert Provider.objects.get().options == {}


def test_options_of_other_kinds_are_not_taken(browser):
    add_provider(browser, option_region="us-east-1", option_api_version="2024-10-21")

    assert Provider.objects.get().options == {}


def test_stored_options_are_shown(browser, provider):
    provider.options = {"speaks": ["anthropic-messages"]}
    provider.save()

    form = browser.get(page_of(provider)).context["adminform"].form

    assert form.initial["option_speaks"] == ["anthropic-messages"]


def test_a_format_that_nobody_knows_is_refused(browser):
    answer = add_provider(browser, option_speaks=["esperanto"])

    assert "option_speaks" in forms.complaints(answer)


def test_options_of_a_provider_of_a_manifest_can_be_read(browser, provider):
    provider.options, provider.managed_by = {"speaks": ["anthropic-messages"]}, "courier.yaml"
    provider.save()

    assert "speaks: anthropic-messages" in browser.get(page_of(provider)).text
