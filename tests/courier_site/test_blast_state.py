"""What a change takes from those who are served, and what they used: from rows, without pages."""

from datetime import UTC, datetime

import pytest
from django.utils import timezone

from accounts.models import ApiKey, Plan
from courier_site.blast import impact, state, use
from registry.models import Alias, Provider, Route, ServedModel, UpstreamKey
from tests.courier_site.rows import make_day
from tests.factories import (
    make_budget,
    make_key,
    make_limit,
    make_model,
    make_policy,
    make_provider,
    make_route,
    make_upstream_key,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def before(scene):
    return state.now()


def taken(before):
    return impact.impact_of(state.harm(before, state.now()))


def routes(found):
    return [(target.model, target.provider) for target in found.harm.targets]


def test_the_end_of_an_alias_is_the_end_of_what_its_model_was_used_for(before):
    Alias.objects.all().delete()

    found = taken(before)

    assert found.harm.aliases == [("lonely", "alone")]
    assert found.use.requests == 70


def test_an_alias_that_nobody_used_is_asked_for(scene):
    make_model("unused", Provider.objects.get(name="main"), aliases=["nickname"])
    before = state.now()
    Alias.objects.filter(name="nickname").delete()

    assert taken(before).is_worth_asking


def test_the_use_of_a_stranded_model_counts_whoever_served_it(scene):
    Alias.objects.all().delete()
    before = state.now()
    make_day(scene["one"], timezone.now().date(), provider_name="gone", model="alone", requests=5)
    ServedModel.objects.filter(name="alone").delete()

    assert taken(before).use.requests == 75


def test_a_limit_of_a_plan_meets_the_keys_that_have_the_plan(scene):
    plan = Plan.objects.create(name="standard")
    ApiKey.objects.filter(pk=scene["two"].pk).update(plan=plan)
    before = state.now()
    make_limit(plan=plan)

    assert [key.name for key in taken(before).use.keys] == ["two"]


def test_a_limit_of_an_upstream_key_meets_those_whom_its_provider_served(before):
    UpstreamKey.objects.filter(provider__name="main").update(concurrency=1)

    assert taken(before).use.requests == 77


def test_a_key_that_was_taken_out_serves_nobody(before):
    key = UpstreamKey.objects.get(provider__name="main")
    key.out_since = timezone.now()
    key.save()

    assert taken(before).harm.stranded == ["alone"]


def test_a_key_that_cannot_be_opened_serves_nobody(before):
    UpstreamKey.objects.filter(provider__name="main").update(sealed_secret="nonsense")

    assert taken(before).harm.stranded == ["alone"]


def test_of_a_providers_keys_that_are_left_each_counts(scene):
    make_upstream_key(Provider.objects.get(name="main"), name="second")
    before = state.now()
    UpstreamKey.objects.filter(name="second").delete()

    found = taken(before)

    assert found.harm.stranded == []
    assert routes(found) == [("alone", "main"), ("both", "main")]


@pytest.mark.parametrize(
    "state_of_it",
    [
        {"enabled": False},
        {"sealed_secret": "nonsense"},
        {"out_since": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_key_that_was_not_used_is_not_missed(scene, state_of_it):
    make_upstream_key(Provider.objects.get(name="main"), name="second")
    UpstreamKey.objects.filter(name="second").update(**state_of_it)
    before = state.now()
    UpstreamKey.objects.filter(name="second").delete()

    assert not taken(before).harm


def test_a_route_of_another_model_is_no_route_of_this_one(scene):
    make_route(make_model("third"), Provider.objects.get(name="spare"), upstream_model="tiny")
    before = state.now()
    Route.objects.filter(model__name="both", provider__name="spare").delete()

    assert routes(taken(before)) == [("both", "spare")]


def test_what_a_policy_has_barred_before_is_not_asked_for_again(scene):
    make_policy(when={"teams": ["sales"]}, then={"exclude": ["main"]})
    before = state.now()
    make_policy(when={"teams": ["research"]}, then={"exclude": ["main"]}, name="another")

    assert [bar.policy for bar in taken(before).harm.barred] == ["another"]


def test_a_policy_that_strands_a_model_bars_nobody_besides(before):
    make_policy(then={"exclude": ["main"]})

    found = taken(before)

    assert (found.harm.stranded, found.harm.barred) == (["alone"], [])


def test_a_policy_bars_nobody_from_what_is_not_served_anyway(scene):
    UpstreamKey.objects.update(out_since=timezone.now())
    before = state.now()
    make_policy(when={"teams": ["sales"]}, then={"exclude": ["*"]})

    assert not taken(before).harm


def test_a_route_to_another_upstream_model_takes_the_former_away(before):
    Route.objects.filter(model__name="alone").update(upstream_model="another")

    assert routes(taken(before)) == [("alone", "main")]


def test_a_day_without_a_request_is_no_use(scene):
    idle = make_key()
    make_day(idle, timezone.now().date(), provider_name="main", model="unused", requests=0)
    make_model("unused", Provider.objects.get(name="main"))
    before = state.now()
    ServedModel.objects.filter(name="unused").delete()

    found = taken(before)

    assert found.use.keys == []
    assert not found.blocks


def test_where_nothing_is_asked_about_nothing_was_used(scene):
    assert use.of([]) == use.Use()


def test_those_who_use_most_are_named_first_and_of_many_some(scene):
    today = timezone.now().date()
    for requests in range(1, 12):
        make_day(make_key(name=f"k{requests}"), today, model="busy", requests=requests)

    used = use.of([{"model": "busy"}])

    assert [key.name for key in used.named] == [f"k{requests}" for requests in range(11, 1, -1)]
    assert used.unnamed == 1


def test_nobody_is_asked_for_what_nobody_has_yet(before):
    key = make_key()
    make_day(key, timezone.now().date(), model="alone", requests=1)
    make_limit(key=key)

    assert not taken(before).harm


def test_a_soft_budget_stops_nobody(before, scene):
    make_budget(key=scene["one"], hard=False)

    assert not taken(before).harm


@pytest.mark.parametrize("amount", [4, 5])
def test_a_budget_of_another_kind_is_another_budget(scene, amount):
    make_budget(key=scene["one"], amount=5, hard=True)
    before = state.now()
    make_budget(key=scene["one"], amount=amount, hard=True, window="rolling")

    assert [each.words.rpartition(" ")[2] for each in taken(before).harm.lowered] == ["(new)"]


def test_a_limit_on_one_model_is_another_limit(scene):
    make_limit(key=scene["one"])
    before = state.now()
    make_limit(key=scene["one"], model="alone")

    assert [each.words.rpartition(" ")[2] for each in taken(before).harm.lowered] == ["(new)"]


def test_a_budget_of_nothing_is_the_least_there_is(before):
    UpstreamKey.objects.filter(provider__name="main").update(budget=0)

    assert [each.amount for each in taken(before).harm.lowered] == [0]


def test_a_limit_of_a_key_that_is_off_holds_nobody_up(scene):
    UpstreamKey.objects.filter(provider__name="spare").update(enabled=False)
    before = state.now()
    UpstreamKey.objects.filter(provider__name="spare").update(concurrency=1)

    assert not taken(before).harm


def test_a_provider_without_keys_that_needs_none_serves(scene):
    make_model("keyless", make_provider("local"))
    before = state.now()
    Provider.objects.filter(name="local").update(enabled=False)

    assert taken(before).harm.stranded == ["keyless"]


def test_a_model_that_is_off_serves_nobody(before):
    ServedModel.objects.filter(name="alone").update(enabled=False)
    off = state.now()
    ServedModel.objects.filter(name="alone").delete()

    assert state.harm(before, off).stranded == ["alone"]
    assert not taken(off).harm


def test_what_was_stranded_already_is_not_stranded_again(scene):
    UpstreamKey.objects.all().delete()
    Provider.objects.update(enabled=False)
    before = state.now()
    ServedModel.objects.all().delete()

    assert not taken(before).harm


class TestNames:
    """What a name asks for, where models are called by patterns."""

    SERVED = state.Target("long", "main", "tiny", frozenset())

    def of(self, *names):
        model = {"gpt-*": "short", "gpt-4*": "long", "gpt-4": "other"}
        return state.State({name: model[name] for name in names}, {self.SERVED}, {}, set())

    def test_a_pattern_answers_for_what_fits(self):
        assert self.of("gpt-4*").serves("gpt-4o")
        assert not self.of("gpt-4*").serves("gpt-5")

    def test_the_longest_pattern_counts(self):
        assert self.of("gpt-*", "gpt-4*").model_of("gpt-4o") == "long"

    def test_a_name_comes_before_all_patterns(self):
        assert self.of("gpt-*", "gpt-4*", "gpt-4").model_of("gpt-4") == "other"
