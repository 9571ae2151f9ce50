"""Plans in the admin, and keys that have one."""

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from accounts.keys import assign_plan
from accounts.models import ApiKey, Budget, Plan
from registry.models import Revision
from tests.accounts.test_admin import a_budget, a_limit, admin_client, rows, staff, text_of
from tests.accounts.test_admin_keys import act, add, confirm, key_form, page_of
from tests.factories import make_key, make_limit, make_model, make_team, make_user

__all__ = ["admin_client"]

pytestmark = pytest.mark.django_db
KEYS = "admin:accounts_apikey_changelist"
ALLOTTING = ("view_apikey", "change_apikey", "change_ratelimit", "change_budget")


@pytest.fixture
def plan():
    return Plan.objects.create(name="standard")


def plan_form(name="standard", *, limits=(), budgets=()):
    inlines = {**rows("ratelimits", *limits), **rows("budgets", *budgets)}
    return {"name": name, "description": "", **inlines}


def test_a_plan_is_made_with_its_limits_and_budgets(admin_client):
    data = plan_form(
        limits=[a_limit(), a_limit("input_tokens", 100_000), a_limit(model="gpt-*")],
        budgets=[a_budget("20", "day", "rolling")],
    )
    assert admin_client.post(reverse("admin:accounts_plan_add"), data).status_code == 302
    plan = Plan.objects.get()
    assert {limit.model for limit in plan.ratelimits.all()} == {"", "gpt-*"}
    assert str(plan.budgets.get()) == "$20 in any 24 hours"


@pytest.mark.parametrize(
    ("pattern", "is_told"), [("gpt-*", False), ("gpt-4o", False), ("lar*", True)]
)
def test_a_limit_for_no_model_there_is_is_told_and_kept(admin_client, pattern, is_told):
    make_model("gpt-4o", aliases=["large"])
    data = plan_form(limits=[a_limit(model=pattern)])
    page = text_of(admin_client.post(reverse("admin:accounts_plan_add"), data, follow=True))
    assert (f"No model is called “{pattern}” now" in page) == is_told
    assert Plan.objects.get().ratelimits.get().model == pattern


def test_a_limit_for_an_alias_is_one_for_its_model(admin_client):
    make_model("gpt-4o", aliases=["large"])
    data = plan_form(limits=[a_limit(model="large")])
    admin_client.post(reverse("admin:accounts_plan_add"), data)
    assert Plan.objects.get().ratelimits.get().model == "gpt-4o"


def test_a_limit_for_what_can_be_no_model_is_refused_in_words(admin_client):
    data = plan_form(limits=[a_limit(model="gpt 4o")])
    page = text_of(admin_client.post(reverse("admin:accounts_plan_add"), data))
    assert "Enter the name of a model, such as gpt-4o" in page


def test_limits_of_one_kind_for_two_models_are_no_mistake(admin_client):
    data = plan_form(limits=[a_limit(model="gpt-4o"), a_limit(model="llama")])
    assert admin_client.post(reverse("admin:accounts_plan_add"), data).status_code == 302


def test_a_change_of_a_plan_reaches_every_process(admin_client, plan):
    before = Revision.objects.get().number
    data = plan_form(limits=[a_limit(plan=plan.pk)])
    admin_client.post(reverse("admin:accounts_plan_change", args=[plan.pk]), data)
    assert Revision.objects.get().number > before


def test_the_list_tells_how_many_keys_have_a_plan(admin_client, plan):
    for _ in range(3):
        assign_plan(make_key(), plan)
    response = admin_client.get(reverse("admin:accounts_plan_changelist"))
    assert [row.key_count for row in response.context["cl"].result_list] == [3]


def test_a_plan_in_use_is_not_deleted_and_says_whose_it_is(admin_client, plan):
    assign_plan(make_key(name="notebook"), plan)
    url = reverse("admin:accounts_plan_delete", args=[plan.pk])
    assert "notebook" in text_of(admin_client.get(url))
    admin_client.post(url, {"post": "yes"})
    assert Plan.objects.exists()


def test_a_key_is_issued_with_a_plan(admin_client, plan):
    add(admin_client, make_team(), plan=plan.pk)
    assert ApiKey.objects.get().plan == plan


def test_a_plan_is_assigned_to_many_keys_at_once(admin_client, plan):
    keys = [make_key(), make_key()]
    assert "Assign a plan to these 2 keys?" in text_of(act(admin_client, "assign_plan", *keys))
    confirm(admin_client, "assign_plan", *keys, plan=plan.pk)
    assert {key.plan for key in ApiKey.objects.all()} == {plan}


def test_a_plan_is_taken_away(admin_client, plan):
    key = make_key()
    assign_plan(key, plan)
    confirm(admin_client, "assign_plan", key, plan="")
    assert ApiKey.objects.get().plan is None


def test_assigning_a_plan_is_logged_with_what_was_and_what_is(admin_client, plan):
    key = make_key()
    confirm(admin_client, "assign_plan", key, plan=plan.pk)
    assert LogEntry.objects.get().change_message == "Plan changed from none to standard."


def test_assigning_a_plan_reaches_every_process(admin_client, plan):
    key = make_key()
    before = Revision.objects.get().number
    confirm(admin_client, "assign_plan", key, plan=plan.pk)
    assert Revision.objects.get().number > before


def test_a_key_of_a_manifest_is_assigned_no_plan(admin_client, plan):
    key = make_key(managed_by="production.yaml")
    confirm(admin_client, "assign_plan", key, plan=plan.pk)
    assert ApiKey.objects.get().plan is None


@pytest.mark.parametrize("missing", ["change_ratelimit", "change_budget"])
def test_who_may_not_set_limits_assigns_no_plan(client, plan, missing):
    key = make_key()
    staff(client, *(set(ALLOTTING) - {missing}))
    confirm(client, "assign_plan", key, plan=plan.pk)
    client.post(page_of(key), key_form(name=key.name, plan=plan.pk))
    assert ApiKey.objects.get().plan is None


def test_who_may_set_limits_assigns_plans(client, plan):
    key = make_key()
    staff(client, *ALLOTTING)
    confirm(client, "assign_plan", key, plan=plan.pk)
    assert ApiKey.objects.get().plan == plan


def test_limits_cannot_be_smuggled_into_the_form_of_a_plan(client, plan):
    staff(client, "view_plan", "change_plan")
    forged = plan_form(limits=[a_limit(plan=plan.pk)], budgets=[a_budget(plan=plan.pk)])
    client.post(reverse("admin:accounts_plan_change", args=[plan.pk]), forged)
    assert not plan.ratelimits.exists()
    assert not plan.budgets.exists()


def test_limits_of_a_plan_cannot_be_changed_by_who_may_only_see_them(client, plan):
    limit = make_limit(plan=plan)
    staff(client, "view_plan", "change_plan", "view_ratelimit")
    forged = plan_form()
    forged |= rows("ratelimits", a_limit(id=limit.pk, plan=plan.pk, amount=9999), saved=1)
    client.post(reverse("admin:accounts_plan_change", args=[plan.pk]), forged)
    assert plan.ratelimits.get().amount == 10


def test_the_page_of_a_key_shows_all_that_holds(admin_client, plan):
    owner = make_user("ada")
    key = make_key(make_team("research"), owner=owner)
    assign_plan(key, plan)
    make_limit(key=key, amount=11)
    make_limit(plan=plan, amount=12)
    make_limit(plan=plan, amount=13, window_s=1)
    make_limit(team=key.team, amount=14)
    make_limit(user=owner, amount=15)
    Budget.objects.create(plan=plan, amount=16)
    page = text_of(admin_client.get(page_of(key))).partition("Limits and budgets in force")[2]
    held = page.partition("</dl>")[0]
    for words in ("11 requests per minute", "13 requests per second", "14 req", "15 req", "$16"):
        assert words in held
    assert "12 requests" not in held


def test_who_may_not_see_limits_is_not_shown_what_holds(client, plan):
    key = make_key()
    staff(client, "view_apikey")
    assert "Limits and budgets in force" not in text_of(client.get(page_of(key)))


def test_keys_are_found_by_their_plan(admin_client, plan):
    key, _ = make_key(), make_key()
    assign_plan(key, plan)
    response = admin_client.get(reverse(KEYS), {"plan__id__exact": plan.pk})
    assert list(response.context["cl"].result_list) == [key]
