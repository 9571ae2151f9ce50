"""A policy that leaves a model without any route is asked for, and tells whom it holds for."""

import pytest
from django.urls import reverse

from courier_site.blast.barring import bars
from registry.models import RoutingPolicy
from tests.courier_site.impacts import impact
from tests.factories import make_model, make_policy

pytestmark = pytest.mark.django_db


def add_policy(browser, **fields):
    form = {"name": "strict", "position": "10", "enabled": "on", "then_exclude": "main"}
    return browser.post(reverse("admin:registry_routingpolicy_add"), form | fields)


def test_a_policy_that_leaves_a_model_without_any_route_is_asked_for(browser, scene):
    page = impact(add_policy(browser))

    assert "<strong>alone</strong> (70 requests in 7 days)" in page
    assert "<strong>both</strong> (" not in page
    assert "a reason is needed" in page
    assert not RoutingPolicy.objects.exists()


@pytest.mark.parametrize(
    "when", [{"when_models": "alone"}, {"when_models": "al*"}, {"when_time_zone": "Europe/Paris"}]
)
def test_a_policy_that_asks_for_no_more_than_models_holds_for_all(browser, scene, when):
    assert "Nothing would serve this model any more: <strong>alone" in impact(
        add_policy(browser, **when)
    )


def test_a_policy_for_an_alias_leaves_the_models_own_name(browser, scene):
    page = impact(add_policy(browser, when_models="lonely"))

    assert "<strong>alone</strong> under strict" in page
    assert "Nothing would serve" not in page


def test_a_model_that_has_no_route_anyway_is_not_barred(scene):
    make_model("empty")
    make_policy(then={"exclude": ["main"]})

    assert [bar.model for bar in bars()] == ["alone"]


def test_a_policy_that_leaves_a_team_without_any_route_shows_what_the_team_used(browser, scene):
    page = impact(add_policy(browser, when_teams="sales"))

    assert "<strong>alone</strong> under strict" in page
    assert "by <strong>1 key</strong>" in page
    assert "Nothing would serve" not in page


def test_a_policy_that_leaves_a_key_without_any_route_shows_what_the_key_used(browser, scene):
    page = impact(add_policy(browser, when_keys="two"))

    assert 'two <span class="overview-note">sales</span>' in page
    assert "by <strong>1 key</strong>" in page


@pytest.mark.parametrize("pattern", ["sal*", "sale?", "sale[s]"])
def test_a_policy_for_names_like_these_shows_what_all_used(browser, scene, pattern):
    page = impact(add_policy(browser, when_teams=pattern))

    assert "<strong>alone</strong> under strict" in page
    assert "by <strong>2 keys</strong>" in page


def test_policies_that_leave_nothing_together_are_asked_for(browser, scene):
    make_policy("no-spare", then={"exclude": ["spare"]})

    page = impact(add_policy(browser, when_teams="sales", when_models="both"))

    assert "<strong>both</strong> under strict" in page
    assert "<strong>alone</strong> under" not in page


def test_a_policy_that_nobody_meets_is_not_asked_for(browser, scene):
    assert add_policy(browser, when_teams="nobody").status_code == 302


def test_a_policy_that_leaves_a_route_is_not_asked_for(browser, scene):
    assert add_policy(browser, then_exclude="spare").status_code == 302
