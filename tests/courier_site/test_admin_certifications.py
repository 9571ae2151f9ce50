"""Certifications in the admin: who may order one, what it says before and after."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from registry.models import Certification, CertifiedTrait
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(client):
    client.force_login(factories.make_admin("boss"))
    return client


@pytest.fixture
def provider():
    return factories.make_provider("local")


@pytest.fixture
def model(provider):
    model = factories.make_model("m", priced=False)
    factories.make_route(model, provider, upstream_model="tiny")
    factories.make_price(model, input="1", output="2")
    return model


def certify_url(row):
    kind = {"provider": "provider", "servedmodel": "model", "route": "route"}
    return reverse(f"gateway-certify-{kind[row._meta.model_name]}", args=(row.pk,))


def page_of(run):
    return reverse("admin:registry_certification_change", args=(run.pk,))


def order(browser, row, **fields):
    return browser.post(certify_url(row), {"confirmed": "yes", "task": "chat", **fields})


def run_of(provider, *, minutes_ago=0, finished=True, **verdicts):
    started = timezone.now() - timedelta(minutes=minutes_ago)
    run = Certification.objects.create(
        provider=provider,
        upstream_model="tiny",
        started_at=started,
        heard_at=started,
        finished_at=started if finished else None,
    )
    for trait, verdict in verdicts.items():
        CertifiedTrait.objects.create(
            certification=run, trait=trait, verdict=verdict, detail=f"About {trait}."
        )
    return run


def test_it_is_asked_first_and_said_what_it_costs(browser, model, provider):
    text = browser.post(certify_url(provider)).text

    assert "tiny" in text
    assert "$0.0" in text
    assert not Certification.objects.exists()


def test_a_cost_that_nobody_knows_is_not_zero(browser, provider):
    factories.make_route(factories.make_model("m", priced=False), provider)

    assert "unknown" in browser.post(certify_url(provider)).text


def test_what_is_confirmed_is_ordered_in_one_s_name(browser, model, provider):
    answer = order(browser, provider, upstream_model="by-hand", provokes="on")

    run = Certification.objects.get()
    assert (run.upstream_model, run.asked_by, run.provokes) == ("by-hand", "boss", True)
    assert answer.headers["location"] == page_of(run)


def test_a_model_is_certified_at_each_of_its_routes(browser, model):
    factories.make_route(model, factories.make_provider("other"), upstream_model="large")

    order(browser, model)

    names = Certification.objects.values_list("provider__name", "upstream_model")
    assert set(names) == {("local", "tiny"), ("other", "large")}


def test_a_route_is_certified_by_itself(browser, model):
    order(browser, model.routes.get(), task="embeddings")

    assert Certification.objects.get().task == "embeddings"


def test_what_is_under_way_is_not_ordered_twice(browser, model):
    order(browser, model)
    order(browser, model)

    assert Certification.objects.count() == 1


def test_a_model_without_routes_has_nothing_to_certify(browser):
    answer = browser.post(
        certify_url(factories.make_model("lost")), {"confirmed": "yes", "task": "chat"}, follow=True
    )

    assert "nothing to certify" in answer.text


@pytest.mark.parametrize("fields", [{"upstream_model": ""}, {"task": "dance"}])
def test_what_cannot_be_certified_is_complained_of(browser, model, provider, fields):
    answer = order(browser, provider, **{"upstream_model": "tiny", **fields})

    assert list(answer.context["form"].errors) == list(fields)
    assert not Certification.objects.exists()


class TestWhoMayOrder:
    def test_only_by_post(self, browser, model, provider):
        rows = (provider, model, model.routes.get())

        assert [browser.get(certify_url(row)).status_code for row in rows] == [405, 405, 405]

    def test_only_with_a_token(self, provider):
        client = Client(enforce_csrf_checks=True)
        client.force_login(factories.make_admin())

        assert order(client, provider).status_code == 403

    @pytest.mark.parametrize(
        ("permission", "status"), [("change_provider", 302), ("change_servedmodel", 403)]
    )
    def test_those_who_may_change_providers(self, client, model, permission, status):
        editor = factories.make_user("editor", is_staff=True)
        editor.user_permissions.set(Permission.objects.filter(codename=permission))
        client.force_login(editor)

        assert order(client, model).status_code == status

    def test_the_button_is_on_the_pages_of_those_only(self, client, model, provider):
        rows = (provider, model, model.routes.get())
        pages = [
            reverse(f"admin:registry_{row._meta.model_name}_change", args=(row.pk,)) for row in rows
        ]
        viewer = factories.make_user("viewer", is_staff=True)
        viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))

        client.force_login(viewer)
        assert not [page for page in pages if "/certify/" in client.get(page).text]

        client.force_login(factories.make_admin())
        assert all("/certify/" in client.get(page).text for page in pages)


class TestTheResult:
    def test_says_each_trait_s_verdict_and_why(self, browser, provider):
        text = browser.get(page_of(run_of(provider, tools="failed", stop="passed"))).text

        assert "About tools." in text
        assert "1 passed, 1 failed" in text

    def test_shows_what_was_before_and_marks_what_is_worse(self, browser, provider):
        before = run_of(provider, minutes_ago=5, tools="passed", stop="failed")
        run = run_of(provider, tools="failed", stop="failed")

        text = browser.get(page_of(run)).text

        assert page_of(before) in text
        assert text.count(">worse<") + text.count("worse\n") == 1

    def test_of_a_first_run_has_nothing_before(self, browser, provider):
        assert "never" in browser.get(page_of(run_of(provider, tools="passed"))).text

    def test_that_is_not_complete_is_loaded_again(self, browser, provider):
        answer = browser.get(page_of(run_of(provider, finished=False, tools="passed")))

        assert answer.headers["refresh"]
        assert "1 of 15" in answer.text

    def test_that_is_complete_stays(self, browser, provider):
        assert "refresh" not in browser.get(page_of(run_of(provider))).headers

    def test_can_be_asked_for_again(self, browser, provider):
        assert 'name="upstream_model" value="tiny"' in browser.get(page_of(run_of(provider))).text

    def test_cannot_be_changed(self, browser, provider):
        run = run_of(provider, tools="failed")

        assert browser.post(page_of(run), {"task": "embeddings"}).status_code == 403


def test_an_empty_list_says_where_certifications_come_from(browser, provider):
    page = reverse("admin:registry_certification_changelist")

    empty = browser.get(page).content.decode()
    run_of(provider, tools="passed")
    filled = browser.get(page).content.decode()

    assert "Nothing was certified yet." in empty
    assert "Nothing was certified yet." not in filled
