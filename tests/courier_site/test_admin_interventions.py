"""What staff do in a partial outage, through the admin."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from registry import health, snapshot
from registry.interventions import DRAINED, PINNED_ELSEWHERE
from registry.models import Intervention, Provider, Route
from tests.courier_site import forms
from tests.factories import make_model, make_provider, make_user

pytestmark = pytest.mark.django_db

ADD = reverse("admin:registry_intervention_add")
LIST = reverse("admin:registry_intervention_changelist")
PROVIDERS = reverse("admin:registry_provider_changelist")


@pytest.fixture
def pair():
    """Two providers of one model, by their names."""
    providers = [make_provider("first"), make_provider("second")]
    make_model("pair", *providers)
    return {provider.name: provider for provider in providers}


def order(browser, rows, action, page=PROVIDERS):
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return browser.post(page, chosen, follow=True)


def filled_in(**changed):
    until = timezone.now() + timedelta(hours=2)
    fields = {"kind": "drain", "reason": "maintenance", "provider": "", "route": ""}
    when = {"until_0": f"{until:%Y-%m-%d}", "until_1": f"{until:%H:%M:%S}"}
    return fields | when | changed


def out():
    """Why each route is left alone, by its provider."""
    orders = snapshot.load(1).orders.out
    names = dict(Route.objects.values_list("pk", "provider__name"))
    return {names[pk]: {order.reason for order in each} for pk, each in orders.items()}


def test_a_provider_is_drained_from_the_list(browser, pair):
    order(browser, [pair["first"]], "drain")

    assert out() == {"first": {DRAINED}}


def test_a_pinned_provider_leaves_the_others_of_its_models_alone(browser, pair):
    make_model("another", make_provider("third"))

    order(browser, [pair["second"]], "pin")

    assert out() == {"first": {PINNED_ELSEWHERE}}


def test_a_route_is_drained_from_the_list_of_routes(browser, pair):
    route = Route.objects.get(provider=pair["second"])

    order(browser, [route], "drain", reverse("admin:registry_route_changelist"))

    assert out() == {"second": {DRAINED}}


def test_a_form_takes_a_moment_and_a_reason(browser, pair):
    browser.post(ADD, filled_in(provider=pair["first"].pk))

    row = Intervention.objects.get()
    assert (row.kind, row.reason, row.begun_by) == ("drain", "maintenance", "root")


@pytest.mark.parametrize("days", [-1, 8])
def test_the_moment_is_to_come_and_not_too_far(browser, pair, days):
    until = f"{timezone.now() + timedelta(days=days):%Y-%m-%d}"

    answer = browser.post(ADD, filled_in(provider=pair["first"].pk, until_0=until))

    assert forms.complaints(answer) == {"until": "Enter a moment to come, within seven days."}


def test_it_is_for_a_provider_or_a_route(browser, pair):
    answer = browser.post(ADD, filled_in())

    assert not Intervention.objects.exists()
    assert "one of the two" in answer.text


def test_all_of_it_is_in_the_audit_log(browser, pair):
    order(browser, [pair["first"]], "drain")
    order(browser, Intervention.objects.all(), "end", LIST)

    told = LogEntry.objects.order_by("pk").values_list("user__username", "change_message")
    assert list(told) == [
        ("root", "Begun."),
        ("root", "Intervention: Drain first."),
        ("root", "Ended."),
    ]


def test_what_is_ended_is_obeyed_no_more_and_stays_in_the_list(browser, pair):
    order(browser, [pair["first"]], "drain")

    order(browser, Intervention.objects.all(), "end", LIST)

    assert out() == {}
    assert "ended" in browser.get(LIST).text


def test_who_may_only_look_is_offered_nothing(client, pair):
    looker = make_user("looker", is_staff=True)
    looker.user_permissions.set(
        Permission.objects.filter(codename__in=["view_provider", "view_intervention"])
    )
    client.force_login(looker)

    order(client, [pair["first"]], "drain")

    assert not Intervention.objects.exists()
    assert client.get(ADD).status_code == 403


def test_the_front_page_tells_who_drained_what_until_when(browser, pair):
    order(browser, [pair["first"]], "drain")

    shown = browser.get("/admin/").text

    assert "drained" in shown
    assert "By root until" in shown


def test_the_front_page_tells_what_flows_and_what_has_moved(browser, pair, monkeypatch, settings):
    settings.REDIS_URL = ""
    flow = health.Flow(
        in_flight=3, meant=10, moved=4, last_error="upstream_timeout", last_error_at=1.0
    )
    monkeypatch.setattr(health, "_flows", {"first": flow})

    shown = browser.get("/admin/").text

    assert "40" in shown
    assert "In the last minute: it did not answer in time" in shown


def test_the_providers_page_leads_to_the_form(browser, pair):
    page = reverse("admin:registry_provider_change", args=(pair["first"].pk,))

    assert f"{ADD}?provider={pair['first'].pk}" in browser.get(page).text
    assert Provider.objects.count() == 2
