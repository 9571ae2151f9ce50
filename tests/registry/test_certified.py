"""Routes that demand a certification, and the verdicts that stand."""

from datetime import timedelta

import pytest
from django.utils import timezone

from registry import certified, snapshot
from registry.models import Certification, CertifiedTrait
from tests import factories

pytestmark = pytest.mark.django_db

PASSED, FAILED, SKIPPED = CertifiedTrait.Verdict.values


@pytest.fixture
def provider():
    return factories.make_provider("local")


@pytest.fixture
def route(provider):
    model = factories.make_model("m")
    return factories.make_route(model, provider, requires_certified=["tools"])


def run(provider, upstream_model="m", *, minutes_ago=0, finished=True, **verdicts):
    started = timezone.now() - timedelta(minutes=minutes_ago)
    run = Certification.objects.create(
        provider=provider,
        upstream_model=upstream_model,
        started_at=started,
        finished_at=started if finished else None,
    )
    for trait, verdict in verdicts.items():
        CertifiedTrait.objects.create(certification=run, trait=trait, verdict=verdict)


def loaded():
    return snapshot.load(1).models["m"]


def test_a_route_that_demands_a_trait_is_not_used_before_it_is_certified(route):
    assert loaded().targets == ()
    assert loaded().uncertified == ("tools",)


def test_it_is_used_once_it_has_passed(route, provider):
    run(provider, tools=PASSED)

    assert [target.route_id for target in loaded().targets] == [route.pk]
    assert loaded().uncertified == ()


def test_the_newest_verdict_stands(route, provider):
    run(provider, tools=FAILED)
    run(provider, tools=PASSED, minutes_ago=5)

    assert loaded().targets == ()


def test_a_trait_that_was_not_tried_again_keeps_its_verdict(route, provider):
    run(provider, tools=PASSED, minutes_ago=5)
    run(provider, tools=SKIPPED)

    assert loaded().targets


def test_a_run_that_has_not_ended_says_nothing(route, provider):
    run(provider, tools=PASSED, finished=False)

    assert loaded().targets == ()


@pytest.mark.parametrize("other", [{"upstream_model": "n"}, {"provider": True}])
def test_what_another_model_or_provider_has_passed_says_nothing(route, provider, other):
    another = factories.make_provider() if other.pop("provider", False) else provider
    run(another, **other, tools=PASSED)

    assert loaded().targets == ()


def test_all_demanded_traits_are_needed(route, provider):
    route.requires_certified = ["tools", "vision"]
    route.save()
    run(provider, tools=PASSED, stop=PASSED)

    assert loaded().uncertified == ("vision",)


def test_routes_that_demand_nothing_are_used_as_they_are(route, provider):
    free = factories.make_route(route.model, provider, upstream_model="other")

    assert [target.route_id for target in loaded().targets] == [free.pk]


def test_no_verdict_is_looked_up_where_no_route_demands_any(provider, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert certified.missing([]) == {}
