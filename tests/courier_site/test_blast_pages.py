"""The page that asks first: what it is called, what it demands, and what it sends again."""

import pytest
from django.urls import reverse
from django.utils import timezone

from courier_site.revising import recording
from registry.models import Provider, RecordedRevision, Route, ServedModel, UpstreamKey
from registry.revisions import Making
from tests.courier_site.impacts import YES, act, impact
from tests.courier_site.rows import make_day
from tests.factories import make_limit, make_model, make_provider, make_upstream_key

pytestmark = pytest.mark.django_db


def disable(browser, *names, **more):
    return act(
        browser, "registry_provider", "disable", *Provider.objects.filter(name__in=names), **more
    )


def change_limit(browser, scene):
    limit = make_limit(team=scene["research"], amount=100)
    sent = {"team": scene["research"].pk, "metric": "requests", "window_s": 60, "amount": 50}
    return browser.post(reverse("admin:accounts_ratelimit_change", args=[limit.pk]), sent)


def add_limit(browser, scene):
    sent = {"team": scene["research"].pk, "metric": "requests", "window_s": 60, "amount": 50}
    return browser.post(reverse("admin:accounts_ratelimit_add"), sent)


def delete_a_model(browser, scene):
    model = ServedModel.objects.get(name="alone")
    url = reverse("admin:registry_servedmodel_delete", args=[model.pk])
    return browser.post(url, {"post": "yes"})


def delete_many(browser, scene):
    models = ServedModel.objects.all()
    return act(browser, "registry_servedmodel", "delete_selected", *models, post="yes")


def disable_one(browser, scene):
    return disable(browser, "main")


def take_out(browser, scene):
    return act(browser, "registry_upstreamkey", "take_out", *UpstreamKey.objects.all())


def restore(browser, scene, why=""):
    """Go back to before another model was there, which is in use."""
    make_model("later", Provider.objects.get(name="main"))
    make_day(scene["one"], timezone.now().date(), provider_name="main", model="later", requests=5)
    recording.record(Making("command", "test"))
    first, last = RecordedRevision.objects.order_by("number")
    url = reverse("admin:registry_recordedrevision_restore_one", args=[first.number])
    return browser.post(url, {"confirmed": "yes", "seen": last.number, "why": why})


def test_a_reason_that_was_given_is_not_asked_for_again(browser, scene):
    page = impact(restore(browser, scene, why="it was slow"))

    assert 'name="impact_reason" value="it was slow"' in page


@pytest.mark.parametrize(
    ("send", "said"),
    [
        (restore, "Restore this revision?"),
        (change_limit, "Change this rate limit?"),
        (add_limit, "Add this rate limit?"),
        (delete_a_model, "Delete this model?"),
        (delete_many, "Delete these 2 models?"),
        (disable_one, "Disable this provider?"),
        (take_out, "Take out these 2 upstream keys?"),
    ],
)
def test_the_page_says_what_would_be_done(browser, scene, send, said):
    assert f"> {said} It takes something from those" in impact(send(browser, scene))


@pytest.mark.parametrize(
    ("send", "named"),
    [
        (change_limit, ["100 requests per minute"]),
        (add_limit, []),
        (delete_a_model, ["alone"]),
        (delete_many, ["alone", "both"]),
    ],
)
def test_the_page_names_what_it_is_about(browser, scene, send, named):
    assert [row.name for row in send(browser, scene).context["rows"]] == named


def test_its_button_warns(browser, scene):
    assert disable(browser, "main").context["question"].variant == "danger"


def test_it_sends_again_whatever_came_and_the_yes(browser, scene):
    page = impact(disable(browser, "main", select_across="0"))

    for name, value in YES.items() | {("action", "disable"), ("select_across", "0")}:
        assert page.count(f'<input type="hidden" name="{name}" value="{value}">') == 1


def test_what_it_asks_a_second_time_is_sent_once(browser, scene):
    page = impact(disable(browser, "main", **YES, impact_reason=""))

    for name in (*YES, "action", "impact_reason", "_selected_action"):
        assert page.count(f'name="{name}"') == 1


@pytest.mark.parametrize("reason", ["", "  "])
def test_where_a_reason_is_needed_blanks_are_none(browser, scene, reason):
    page = impact(disable(browser, "main", **YES, impact_reason=reason))

    assert "This field is required." in page
    assert Provider.objects.get(name="main").enabled


def test_whoever_sees_it_for_the_first_time_has_made_no_mistake(browser, scene):
    assert "This field is required." not in impact(disable(browser, "main"))


def test_a_model_that_nobody_uses_is_stranded_without_a_reason(browser):
    provider = make_provider("new")
    make_upstream_key(provider)
    make_model("unused", provider)

    page = impact(disable(browser, "new"))

    assert "<strong>unused</strong>" in page
    assert "a reason is needed" not in page
    assert disable(browser, "new", **YES).status_code == 302


def test_a_route_that_nobody_uses_is_asked_for_like_any_other(browser):
    model = make_model("unused", make_provider("first"))
    Route.objects.create(model=model, provider=make_provider("second"), upstream_model="tiny")
    for provider in Provider.objects.all():
        make_upstream_key(provider)

    assert "<strong>unused</strong> → second / tiny" in impact(disable(browser, "second"))
