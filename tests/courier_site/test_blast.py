"""Before anything is taken from those who are served, a page shows who they are."""

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from accounts.models import Budget, RateLimit
from registry.models import Alias, Provider, RecordedRevision, Route, ServedModel, UpstreamKey
from tests.courier_site import forms
from tests.courier_site.impacts import YES, act, change_key, impact
from tests.factories import make_limit, make_provider, make_team

pytestmark = pytest.mark.django_db


def test_disabling_a_provider_shows_what_of_seven_days_it_hits(browser, scene):
    page = impact(act(browser, "registry_provider", "disable", Provider.objects.get(name="main")))

    assert "<strong>11 requests and $3.00 per day</strong>, by <strong>2 keys</strong>" in page
    assert 'one <span class="overview-note">research</span></td>' in page
    assert 'overview-number">67<' in page
    assert 'overview-number">10<' in page
    assert Provider.objects.get(name="main").enabled


def test_a_model_in_use_that_would_have_no_target_is_named(browser, scene):
    page = impact(act(browser, "registry_provider", "disable", Provider.objects.get(name="main")))

    assert "<strong>alone</strong> (70 requests in 7 days)" in page
    assert "<strong>both</strong> (" not in page
    assert "a reason is needed" in page


def test_without_a_reason_a_model_in_use_keeps_its_target(browser, scene):
    provider = Provider.objects.get(name="main")

    impact(act(browser, "registry_provider", "disable", provider, **YES))

    assert Provider.objects.get(name="main").enabled


def test_with_a_reason_it_is_done_and_the_reason_is_kept(browser, scene):
    provider = Provider.objects.get(name="main")
    why = "the vendor was breached"
    answer = act(browser, "registry_provider", "disable", provider, **YES, impact_reason=why)

    assert answer.status_code == 302
    assert not Provider.objects.get(name="main").enabled
    assert RecordedRevision.objects.first().note == why
    told = LogEntry.objects.filter(object_id=provider.pk).values_list("change_message", flat=True)
    assert f"Although it was in use: {why}" in told


def test_what_was_undone_to_ask_is_no_revision(browser, scene):
    act(browser, "registry_provider", "disable", Provider.objects.get(name="main"))

    assert RecordedRevision.objects.count() == 1


def test_a_provider_that_is_not_the_only_one_needs_no_reason(browser, scene):
    provider = Provider.objects.get(name="spare")
    page = impact(act(browser, "registry_provider", "disable", provider))
    answer = act(browser, "registry_provider", "disable", provider, **YES)

    assert "<strong>100 requests" in page
    assert answer.status_code == 302
    assert not Provider.objects.get(name="spare").enabled


def test_a_provider_that_serves_nothing_is_disabled_at_once(browser, scene):
    provider = make_provider("idle")

    assert act(browser, "registry_provider", "disable", provider).status_code == 302
    assert not Provider.objects.get(name="idle").enabled


def test_the_form_of_a_provider_asks_when_it_is_switched_off(browser, scene):
    provider = Provider.objects.get(name="main")
    key = provider.keys.get()
    row = {"id": key.pk, "provider": provider.pk, "name": key.name, "weight": 1, "enabled": "on"}
    sent = forms.provider(row, initial=1, name="main", enabled=None)
    url = reverse("admin:registry_provider_change", args=[provider.pk])
    page = impact(browser.post(url, sent))
    kept = Provider.objects.get(name="main").enabled
    answer = browser.post(url, sent | YES | {"impact_reason": "why not"})

    assert '<input type="hidden" name="connect_timeout_s" value="3">' in page
    assert kept
    assert answer.status_code == 302
    assert not Provider.objects.get(name="main").enabled
    assert LogEntry.objects.filter(change_message="Although it was in use: why not").exists()


def test_what_a_form_said_before_it_was_undone_is_not_told(browser, scene):
    page = impact(act(browser, "registry_provider", "disable", Provider.objects.get(name="main")))

    assert "switched off" not in page


def test_the_last_upstream_key_is_as_good_as_its_provider(browser, scene):
    provider = Provider.objects.get(name="main")
    key = provider.keys.get()
    row = {"id": key.pk, "provider": provider.pk, "name": key.name, "weight": 1}
    url = reverse("admin:registry_provider_change", args=[provider.pk])
    page = impact(browser.post(url, forms.provider(row, initial=1, name="main")))

    assert "<strong>alone</strong>" in page
    assert UpstreamKey.objects.get(pk=key.pk).enabled


def test_deleting_a_model_in_use_is_asked_for(browser, scene):
    model = ServedModel.objects.get(name="alone")
    url = reverse("admin:registry_servedmodel_delete", args=[model.pk])
    page = impact(browser.post(url, {"post": "yes"}))

    assert "<strong>alone</strong> (70 requests in 7 days)" in page
    assert "<strong>lonely</strong> for alone" in page
    assert ServedModel.objects.filter(name="alone").exists()


def test_a_provider_with_routes_tells_what_to_do_instead_of_deleting_it(browser, scene):
    main = Provider.objects.get(name="main")
    its_page = reverse("admin:registry_provider_change", args=[main.pk])

    told = browser.get(reverse("admin:registry_provider_delete", args=[main.pk])).content.decode()

    assert f'href="{its_page}">disable it</a>' in told


def test_deleting_many_is_asked_for(browser, scene):
    models = ServedModel.objects.all()
    page = impact(act(browser, "registry_servedmodel", "delete_selected", *models, post="yes"))

    assert "these 2 models" in page
    assert models.count() == 2


def test_disabling_a_route_is_asked_for(browser, scene):
    route = Route.objects.get(model__name="alone")
    url = reverse("admin:registry_route_change", args=[route.pk])
    page = impact(browser.post(url, {"priority": 0, "weight": 1}))

    assert "<strong>alone</strong> → main / alone" in page
    assert Route.objects.get(pk=route.pk).enabled


def test_a_model_that_is_renamed_would_not_be_found_any_more(browser, scene):
    from courier_site.blast import state

    before = state.now()
    ServedModel.objects.filter(name="alone").update(name="new")

    assert state.harm(before, state.now()).stranded == ["alone"]


def test_a_former_name_that_stays_as_an_alias_strands_nobody(browser, scene):
    from courier_site.blast import state

    before = state.now()
    model = ServedModel.objects.get(name="alone")
    ServedModel.objects.filter(name="alone").update(name="new")
    Alias.objects.create(model=model, name="alone")

    assert not state.harm(before, state.now())


def test_lowering_a_limit_shows_whom_it_meets(browser, scene):
    limit = make_limit(team=scene["research"], amount=100)
    url = reverse("admin:accounts_ratelimit_change", args=[limit.pk])
    sent = {"team": scene["research"].pk, "metric": "requests", "window_s": 60, "amount": 50}
    page = impact(browser.post(url, sent))
    kept = RateLimit.objects.get().amount
    answer = browser.post(url, sent | YES)

    assert "50 requests per minute for team research (was 100 requests per minute" in page
    assert "by <strong>1 key</strong>" in page
    assert kept == 100
    assert answer.status_code == 302
    assert RateLimit.objects.get().amount == 50


def test_raising_a_limit_is_not_asked_for(browser, scene):
    limit = make_limit(team=scene["research"], amount=100)
    url = reverse("admin:accounts_ratelimit_change", args=[limit.pk])
    sent = {"team": scene["research"].pk, "metric": "requests", "window_s": 60, "amount": 500}

    assert browser.post(url, sent).status_code == 302


def test_a_new_hard_budget_of_a_key_in_use_is_asked_for(browser, scene):
    sent = {
        "key": scene["two"].pk,
        "amount": "5",
        "period": "day",
        "window": "calendar",
        "hard": "on",
        "thresholds": "50",
        "counting": "all",
        **forms.inline("raises"),
    }
    page = impact(browser.post(reverse("admin:accounts_budget_add"), sent))

    assert "$5 per day for key two (new)" in page
    assert not Budget.objects.exists()


def test_a_limit_that_meets_nobody_is_not_asked_for(browser, scene):
    sent = {"team": make_team().pk, "metric": "requests", "window_s": 60, "amount": 50}

    assert browser.post(reverse("admin:accounts_ratelimit_add"), sent).status_code == 302


@pytest.mark.parametrize("action", ["revoke", "disable", "archive"])
def test_ending_a_key_shows_what_it_is_used_for(browser, scene, action):
    page = impact(act(browser, "accounts_apikey", action, scene["one"]))

    assert "9.6 requests and $2.00 per day" in page


def test_archiving_a_team_shows_what_its_keys_are_used_for(browser, scene):
    page = impact(act(browser, "accounts_team", "archive", scene["sales"]))

    assert "two" in page
    assert "<strong>101.4 requests and $1.00 per day</strong>" in page


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("requests_per_minute", "5 requests per minute for upstream key main/"),
        ("tokens_per_minute", "5 tokens per minute for upstream key main/"),
        ("concurrency", "5 requests at the same time for upstream key main/"),
        ("budget", "US dollars"),
    ],
)
def test_an_upstream_keys_own_limits_are_asked_for(browser, scene, field, said):
    key = UpstreamKey.objects.get(provider__name="main")

    page = impact(change_key(browser, key, **{field: "5"}))

    assert said in page
    assert "by <strong>2 keys</strong>" in page
    assert getattr(UpstreamKey.objects.get(pk=key.pk), field) is None


def test_an_upstream_key_that_may_do_more_is_not_asked_for(browser, scene):
    key = UpstreamKey.objects.get(provider__name="main")
    UpstreamKey.objects.filter(pk=key.pk).update(concurrency=4)

    assert change_key(browser, key, concurrency="5").status_code == 302


def test_an_upstream_key_for_other_models_only_leaves_models_without_a_target(browser, scene):
    key = UpstreamKey.objects.get(provider__name="main")

    page = impact(change_key(browser, key, allowed_models="other-*"))

    assert "<strong>alone</strong> (70 requests in 7 days)" in page
