"""Every page of the admin: who may see it, what it never shows, what it costs."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.core.management import call_command
from django.urls import reverse

from courier_site.middleware import LONGEST_SEARCH
from registry.admin.managed import ManagedAdmin
from tests.courier_site.rows import one_of_each
from tests.factories import (
    make_admin,
    make_key,
    make_model,
    make_price,
    make_provider,
    make_team,
    make_upstream_key,
    make_user,
)

pytestmark = pytest.mark.django_db

REGISTERED = {model._meta.label_lower: model for model in admin.site._registry}
every_model = pytest.mark.parametrize("label", sorted(REGISTERED))


def page(label, action, *arguments):
    return reverse(f"admin:{label.replace('.', '_')}_{action}", args=arguments)


@pytest.fixture
def root():
    return make_admin()


@pytest.fixture(autouse=True)
def _nothing_found_before():
    """The theme remembers for each user what a search found."""
    cache.clear()


@pytest.fixture
def browser(client, root):
    client.force_login(root)
    return client


@every_model
def test_a_list_opens(browser, root, label):
    one_of_each(root)

    assert browser.get(page(label, "changelist")).status_code == 200


@pytest.mark.parametrize("label", ["registry.upstreamkey", "registry.route", "usage.usagerecord"])
def test_a_list_is_not_cut_on_a_narrow_screen(browser, label):
    """By the rule of this sheet, which the theme lacks."""
    assert "courier/lists.css" in browser.get(page(label, "changelist")).text


@every_model
def test_a_search_opens(browser, root, label):
    one_of_each(root)
    searches = admin.site._registry[REGISTERED[label]].search_fields

    assert (
        browser.get(page(label, "changelist"), {"q": "open"} if searches else {}).status_code == 200
    )


@every_model
def test_a_row_opens(browser, root, label):
    rows, _ = one_of_each(root)

    assert browser.get(page(label, "change", rows[label].pk), follow=True).status_code == 200


@every_model
def test_the_form_for_a_new_row_opens_or_is_not_offered(browser, rf, root, label):
    request = rf.get("/")
    request.user = root
    offered = admin.site._registry[REGISTERED[label]].has_add_permission(request)

    assert browser.get(page(label, "add")).status_code == (200 if offered else 403)


@every_model
def test_a_row_s_history_opens(browser, root, label):
    rows, _ = one_of_each(root)

    assert browser.get(page(label, "history", rows[label].pk)).status_code == 200


@every_model
def test_a_row_that_is_not_there_is_answered_with_a_message(browser, label):
    answer = browser.get(page(label, "change", "987654321987654321987654321"))

    assert answer.status_code in {302, 404}


@every_model
def test_no_page_shows_a_secret(browser, root, label):
    rows, secrets = one_of_each(root)
    pages = [page(label, "changelist")]
    pages += [page(label, action, rows[label].pk) for action in ("change", "history", "delete")]

    shown = "".join(browser.get(each).text for each in pages)

    assert not [secret for secret in secrets if secret in shown]


@every_model
def test_no_page_shows_a_secret_to_those_who_may_only_look(client, label):
    viewer = make_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    rows, secrets = one_of_each(viewer)

    shown = client.get(page(label, "change", rows[label].pk)).text

    assert not [secret for secret in secrets if secret in shown]


@every_model
def test_staff_without_the_permission_is_refused(client, label):
    staff = make_user("staff", is_staff=True)
    client.force_login(staff)
    rows, _ = one_of_each(staff)

    assert client.get(page(label, "changelist")).status_code == 403
    assert client.get(page(label, "change", rows[label].pk)).status_code == 403


@every_model
def test_whoever_has_not_signed_in_is_sent_to_do_so(client, label):
    answer = client.get(page(label, "changelist"))

    assert answer.status_code == 302
    assert answer.url.startswith(reverse("admin:login"))


def test_a_person_who_is_no_staff_is_sent_to_sign_in(client):
    client.force_login(make_user())

    assert client.get(reverse("admin:index")).status_code == 302


@pytest.mark.parametrize("label", ["registry.provider", "registry.servedmodel", "registry.price"])
def test_a_list_costs_as_many_queries_for_fifty_rows_as_for_five(
    browser, label, django_assert_num_queries, django_assert_max_num_queries
):
    make_registry(5)
    with django_assert_max_num_queries(30) as few:
        browser.get(page(label, "changelist"))
    make_registry(45)

    with django_assert_num_queries(len(few.captured_queries)):
        browser.get(page(label, "changelist"))


def make_registry(number):
    for _ in range(number):
        provider = make_provider()
        make_upstream_key(provider)
        make_price(make_model(None, provider, make_provider(), aliases=[provider.name]))


def test_a_model_s_form_costs_one_query_more_for_each_route(browser, django_assert_max_num_queries):
    small = make_model("small", make_provider())
    large = make_model("large", *[make_provider() for _ in range(11)])
    with django_assert_max_num_queries(40) as few:
        browser.get(page("registry.servedmodel", "change", small.pk))

    with django_assert_max_num_queries(len(few.captured_queries) + 10):
        browser.get(page("registry.servedmodel", "change", large.pk))


@pytest.mark.parametrize(
    "query",
    [
        "p=abc",
        "p=99999",
        "o=x.y",
        "q=%00",
        "q=" + "a" * LONGEST_SEARCH,
        "e=1",
        "unknown=1",
        "kind__exact=no",
        "kind__exact=%00",
    ],
)
def test_a_list_survives_any_query(browser, query):
    make_provider()

    answer = browser.get(page("registry.provider", "changelist") + "?" + query, follow=True)

    assert answer.status_code == 200


@pytest.mark.parametrize("query", ["s=open", "s=open&extended=1", "s=%00&extended=1", ""])
def test_the_search_over_everything_answers(browser, root, query):
    one_of_each(root)

    assert browser.get(reverse("admin:search") + "?" + query).status_code == 200


@pytest.mark.parametrize("number", ["abc", "999", "-1"])
def test_a_page_of_results_that_is_none_is_not_found(browser, root, number):
    one_of_each(root)

    assert browser.get(reverse("admin:search"), {"s": "o", "page": number}).status_code == 404


def test_the_search_over_everything_finds_rows(browser, root):
    rows, _ = one_of_each(root)

    found = browser.get(reverse("admin:search"), {"s": "openai", "extended": "1"}).text

    assert page("registry.provider", "change", rows["registry.provider"].pk) in found


def test_the_search_over_everything_finds_nothing_that_a_person_may_not_see(client):
    staff = make_user("staff", is_staff=True)
    client.force_login(staff)
    one_of_each(staff)

    found = client.get(reverse("admin:search"), {"s": "openai", "extended": "1"}).text

    assert "/registry/" not in found


def test_every_entry_of_the_navigation_leads_to_a_page(browser):
    start = browser.get(reverse("admin:index"))
    links = [
        str(item["link"])
        for group in start.context["sidebar_navigation"]
        for item in group["items"]
    ]

    assert {browser.get(link).status_code for link in links} == {200}
    assert len(links) == len(set(links))


def test_the_navigation_offers_only_what_a_person_may_see(client):
    staff = make_user("staff", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename="view_provider"))
    client.force_login(staff)

    start = client.get(reverse("admin:index")).text

    assert page("registry.provider", "changelist") in start
    assert page("registry.servedmodel", "changelist") not in start


@pytest.mark.parametrize("production", [True, False])
def test_every_page_says_where_one_is(browser, settings, production):
    settings.PRODUCTION = production

    label = "Production" if production else "Laptop"

    assert label in browser.get(reverse("admin:index")).text


def test_the_sign_in_page_bears_the_name(client):
    assert "Courier" in client.get(reverse("admin:login")).text


def test_signing_in_leads_to_the_front_page(client, root):
    from tests.factories import PASSWORD

    entered = {"username": root.username, "password": PASSWORD, "next": reverse("admin:index")}

    answer = client.post(reverse("admin:login"), entered)

    assert (answer.status_code, answer.url) == (302, reverse("admin:index"))


@pytest.mark.parametrize("address", ["/", "/admin/", "/admin/login/"])
def test_no_page_is_cached_or_loads_anything_from_elsewhere(browser, address):
    answer = browser.get(address)

    assert "no-store" in answer["Cache-Control"]
    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]


def test_no_page_runs_a_script_of_its_own(browser, root):
    rows, _ = one_of_each(root)
    pages = [page(label, "change", row.pk) for label, row in rows.items()]

    for each in [*pages, reverse("admin:index")]:
        for script in browser.get(each).text.split("<script")[1:]:
            assert "src=" in script.split(">")[0] or 'type="application/json"' in script


class TestManagedRows:
    @pytest.fixture
    def provider(self):
        provider = make_provider("from-a-file", managed_by="courier.yaml")
        make_upstream_key(provider, "sk-managed-secret")
        return provider

    def test_say_which_manifest_they_come_from(self, browser, provider):
        assert "courier.yaml" in browser.get(page("registry.provider", "change", provider.pk)).text

    def test_cannot_be_changed(self, browser, provider):
        answer = browser.post(page("registry.provider", "change", provider.pk), {"name": "other"})

        assert answer.status_code == 403

    def test_cannot_be_deleted(self, browser, provider):
        answer = browser.post(page("registry.provider", "delete", provider.pk), {"post": "yes"})

        assert answer.status_code == 403

    def test_show_no_secret_although_they_are_read_only(self, browser, provider):
        shown = browser.get(page("registry.provider", "change", provider.pk)).text

        assert "sk-managed-secret" not in shown
        assert "default" in shown

    def test_keep_their_prices(self, browser):
        price = make_price(make_model("m", managed_by="courier.yaml"))

        assert browser.post(page("registry.price", "change", price.pk), {}).status_code == 403
        assert browser.post(page("registry.price", "delete", price.pk), {}).status_code == 403

    def test_are_left_by_actions_over_many(self, browser, provider):
        own = make_provider("own")

        run_action(browser, "registry.provider", "disable", provider, own)

        provider.refresh_from_db()
        own.refresh_from_db()
        assert (provider.enabled, own.enabled) == (True, False)

    def test_can_be_taken_over(self, browser, provider):
        run_action(browser, "registry.provider", "take_over", provider)

        provider.refresh_from_db()
        assert provider.managed_by == ""

    def test_of_every_kind_have_the_same_protection(self):
        managed = [model for model in REGISTERED.values() if hasattr(model, "managed_by")]
        admins = [admin.site._registry[model] for model in managed]

        assert [each for each in admins if not hasattr(type(each), "has_change_permission")] == []
        assert any(isinstance(each, ManagedAdmin) for each in admins)


def run_action(browser, label, action, *rows):
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    answer = browser.post(page(label, "changelist"), chosen, follow=True)
    assert answer.status_code == 200
    return answer


def test_switching_many_on_and_off_changes_the_configuration(browser):
    from registry.models import Revision

    provider = make_provider()
    before = Revision.objects.get(pk=1).number

    run_action(browser, "registry.provider", "disable", provider)

    assert Revision.objects.get(pk=1).number == before + 1


def test_the_system_checks_of_the_admin_pass():
    call_command("check")


def test_teams_and_keys_have_pages_as_well(browser):
    team, key = make_team(), make_key()

    assert browser.get(page("accounts.team", "change", team.pk)).status_code == 200
    assert browser.get(page("accounts.apikey", "change", key.pk)).status_code == 200
