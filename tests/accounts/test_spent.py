"""What budgets have spent, as pages show it."""

from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.urls import reverse

from accounts import admission, spent
from accounts.keys import assign_plan
from accounts.limits import Figures
from accounts.local_limits import LocalStore
from accounts.models import Budget, Plan
from accounts.redis_limits import RedisStore
from accounts.rules import Rules
from tests.accounts.test_admin import admin_client, queries, text_of
from tests.accounts.test_admin_keys import page_of
from tests.factories import make_key, make_team
from tests.services import free_port

__all__ = ["admin_client"]

pytestmark = pytest.mark.django_db
DOLLAR = 10**9
LIST = "admin:accounts_budget_changelist"


@pytest.fixture(params=["local", "redis"])
def store_url(request, settings, monkeypatch):
    """Where this process counts: in itself, or in a private Redis."""
    monkeypatch.setattr(admission, "_store", LocalStore() if request.param == "local" else None)
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    settings.REDIS_URL = url
    return url


@pytest.fixture
def budget():
    Budget.objects.create(team=make_team("research"), amount=100)
    return Budget.objects.get()


def spend(url, rule, dollars):
    """Have the store know that so much was spent."""

    async def build():
        store = RedisStore(url) if url else admission.store()
        look = await store.look(Rules((), (rule,)))
        window = rule.window_at(look.now_us)
        token = uuid4().hex
        await store.claim([rule], token)
        await store.build([Figures(rule, window, {window: dollars * DOLLAR})], token)
        if url:
            await store.close()

    async_to_sync(build)()


def test_what_is_spent_is_what_the_store_counts(store_url, budget):
    rule = spent.rule_of(budget)
    spend(store_url, rule, 40)
    state = spent.states([rule])[budget.pk]
    assert (state.spent_nano, state.amount_nano) == (40 * DOLLAR, 100 * DOLLAR)


def test_what_the_store_does_not_know_is_unknown(store_url, budget):
    assert spent.states([spent.rule_of(budget)])[budget.pk].spent_nano is None


def test_without_redis_it_is_unknown(settings, budget):
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    assert spent.states([spent.rule_of(budget)])[budget.pk].spent_nano is None


def test_the_list_shows_what_is_spent_and_a_bar(store_url, admin_client, budget):
    spend(store_url, spent.rule_of(budget), 40)
    page = text_of(admin_client.get(reverse(LIST)))
    assert "$40.00 of $100.00" in page
    assert f'<progress value="{40 * DOLLAR}" max="{100 * DOLLAR}"' in page


@pytest.mark.parametrize(("dollars", "level"), [(79, "well"), (80, "close"), (100, "over")])
def test_the_bar_warns(store_url, admin_client, budget, dollars, level):
    spend(store_url, spent.rule_of(budget), dollars)
    assert f"courier-{level}" in text_of(admin_client.get(reverse(LIST)))


def test_the_list_says_where_it_is_unknown(store_url, admin_client, budget):
    assert "unknown</span> of $100.00" in text_of(admin_client.get(reverse(LIST)))


def test_a_budget_of_a_plan_is_each_key_s_own(store_url, admin_client):
    plan = Plan.objects.create(name="standard")
    Budget.objects.create(plan=plan, amount=20)
    planned = Budget.objects.get()
    key, other = make_key(), make_key()
    assign_plan(key, plan)
    assign_plan(other, plan)
    rule = spent.budget_rule(planned, f"key:{key.pk}", "UTC")
    spend(store_url, rule, 5)
    assert "each key for itself" in text_of(admin_client.get(reverse(LIST)))
    assert "$5.00 of $20.00" in text_of(admin_client.get(page_of(key)))
    assert "$5.00 of $20.00" not in text_of(admin_client.get(page_of(other)))


def test_the_page_of_a_team_shows_what_is_spent(store_url, admin_client, budget):
    spend(store_url, spent.rule_of(budget), 40)
    page = admin_client.get(reverse("admin:accounts_team_change", args=[budget.team_id]))
    assert "$40.00 of $100.00" in text_of(page)


def test_a_list_of_many_asks_once(store_url, admin_client, budget):
    url = reverse(LIST)
    few = queries(admin_client, url)
    for _ in range(20):
        Budget.objects.create(key=make_key(), amount=1)
    assert queries(admin_client, url) == few
