"""People, teams, limits and budgets in the admin."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import ApiKey, Budget, Membership, RateLimit, Team, User
from registry.models import Revision
from tests.factories import PASSWORD, make_admin, make_key, make_limit, make_team, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin_client(client):
    client.force_login(make_admin())
    return client


def staff(client, *permissions):
    """Somebody of the staff with these permissions alone."""
    user = make_user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return user


def rows(prefix, *forms, saved=0):
    """The fields of an inline, as the browser sends them."""
    data = {f"{prefix}-TOTAL_FORMS": len(forms), f"{prefix}-INITIAL_FORMS": saved}
    for number, fields in enumerate(forms):
        data |= {f"{prefix}-{number}-{name}": value for name, value in fields.items()}
    return data


def team_form(name="research", *, members=(), limits=(), budgets=()):
    return {
        "name": name,
        "time_zone": "UTC",
        "markup_percent": "0",
        **rows("memberships", *members),
        **rows("ratelimits", *limits),
        **rows("budgets", *budgets),
    }


def a_limit(metric="requests", amount=60, window_s=60, **fields):
    return {"metric": metric, "amount": amount, "window_s": window_s, **fields}


def a_budget(amount="100", period="month", window="calendar", **fields):
    chosen = {"counting": "all", "hard": "on", "thresholds": "50, 80, 100"}
    return {"amount": amount, "period": period, "window": window, **chosen, **fields}


def text_of(response):
    assert response.status_code == 200, response.status_code
    return response.content.decode()


def queries(client, url):
    client.get(url)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def make_rows(count):
    """So many of everything, each with all that a list shows of it."""
    for _ in range(count):
        owner = make_user(first_name="Ada", last_name="Lovelace")
        team = make_team(owner=owner)
        key = make_key(team, owner=owner)
        make_limit(key=key)
        make_limit(team=team)
        make_limit(user=owner)
        Budget.objects.create(key=key, amount=5)
        Budget.objects.create(team=team, amount=5)


@pytest.mark.parametrize("model", ["user", "team", "apikey", "plan", "ratelimit", "budget"])
def test_a_list_takes_as_many_queries_for_50_rows_as_for_5(admin_client, model):
    url = reverse(f"admin:accounts_{model}_changelist")
    make_rows(5)
    few = queries(admin_client, url)
    make_rows(20)
    assert queries(admin_client, url) == few


@pytest.mark.parametrize("model", ["user", "team", "apikey", "plan", "ratelimit", "budget"])
@pytest.mark.parametrize("query", ["?q=ada", "?o=1", "?o=2.-3"])
def test_a_list_can_be_searched_and_sorted(admin_client, model, query):
    make_rows(2)
    text_of(admin_client.get(reverse(f"admin:accounts_{model}_changelist") + query))


@pytest.mark.parametrize("model", ["user", "team", "apikey", "plan", "ratelimit", "budget"])
def test_without_a_permission_nothing_is_seen(client, model):
    staff(client)
    assert client.get(reverse(f"admin:accounts_{model}_changelist")).status_code == 403


@pytest.mark.parametrize("scope", ["key", "team", "user"])
def test_limits_can_be_filtered_by_whom_they_are_for(admin_client, scope):
    make_rows(2)
    response = admin_client.get(reverse("admin:accounts_ratelimit_changelist"), {"scope": scope})
    found = response.context["cl"].result_list
    assert len(found) == 2
    assert all(getattr(limit, scope) for limit in found)


def test_a_team_is_made_with_its_people_limits_and_budgets(admin_client):
    person = make_user("ada")
    data = team_form(
        members=[{"user": person.pk, "role": "owner"}],
        limits=[a_limit(), a_limit("tokens", 100_000)],
        budgets=[a_budget()],
    )
    assert admin_client.post(reverse("admin:accounts_team_add"), data).status_code == 302
    team = Team.objects.get()
    assert Membership.objects.get().user == person
    assert {limit.amount for limit in team.ratelimits.all()} == {60, 100_000}
    assert team.budgets.get().amount == 100


def test_two_limits_of_one_kind_are_a_mistake_at_the_field(admin_client):
    data = team_form(limits=[a_limit(), a_limit(amount=5)])
    page = text_of(admin_client.post(reverse("admin:accounts_team_add"), data))
    assert "There is already a limit of this metric, window and model." in page


def test_a_limit_like_one_that_is_there_is_a_mistake_at_the_field(admin_client):
    team = make_team("research")
    limit = make_limit(team=team)
    data = team_form(limits=[a_limit(id=limit.pk, team=team.pk), a_limit(amount=5, team=team.pk)])
    data["ratelimits-INITIAL_FORMS"] = 1
    page = text_of(admin_client.post(reverse("admin:accounts_team_change", args=[team.pk]), data))
    assert "There is already a limit of this metric, window and model." in page


def test_a_limit_may_be_replaced_by_one_of_its_kind(admin_client):
    team = make_team("research")
    limit = make_limit(team=team)
    old, new = a_limit(id=limit.pk, team=team.pk, DELETE="on"), a_limit(amount=5, team=team.pk)
    data = team_form(limits=[old, new])
    data["ratelimits-INITIAL_FORMS"] = 1
    url = reverse("admin:accounts_team_change", args=[team.pk])
    assert admin_client.post(url, data).status_code == 302
    assert [limit.amount for limit in team.ratelimits.all()] == [5]


def test_two_budgets_for_one_period_are_a_mistake_at_the_field(admin_client):
    data = team_form(budgets=[a_budget(), a_budget()])
    page = text_of(admin_client.post(reverse("admin:accounts_team_add"), data))
    assert "There is already a budget for this period and window." in page


@pytest.mark.parametrize("amount", [0, -1])
def test_a_limit_of_nothing_is_a_mistake_at_the_field(admin_client, amount):
    data = team_form(limits=[a_limit(amount=amount)])
    page = text_of(admin_client.post(reverse("admin:accounts_team_add"), data))
    assert "ratelimits-0-amount" in page
    assert Team.objects.count() == 0


def test_for_concurrency_the_window_does_not_matter(admin_client):
    data = team_form(limits=[a_limit("concurrency", 5, 3600)])
    admin_client.post(reverse("admin:accounts_team_add"), data)
    assert RateLimit.objects.get().window_s == 1


def test_two_limits_on_concurrency_are_one_too_many(admin_client):
    limits = [a_limit("concurrency", 5, 60), a_limit("concurrency", 6, 3600)]
    page = text_of(admin_client.post(reverse("admin:accounts_team_add"), team_form(limits=limits)))
    assert "There is already a limit of this metric, window and model." in page


def test_a_person_is_in_a_team_once(admin_client):
    person = make_user()
    member = {"user": person.pk, "role": "member"}
    data = team_form(members=[member, member])
    page = text_of(admin_client.post(reverse("admin:accounts_team_add"), data))
    assert "This person is in the list twice." in page


def test_a_team_with_keys_is_not_deleted(admin_client):
    key = make_key()
    url = reverse("admin:accounts_team_delete", args=[key.team_id])
    assert "protected" in text_of(admin_client.get(url))
    admin_client.post(url, {"post": "yes"})
    assert Team.objects.filter(pk=key.team_id).exists()


def test_a_team_of_a_manifest_is_read_only_and_says_so(admin_client):
    team = make_team("research")
    Team.objects.update(managed_by="production.yaml")
    url = reverse("admin:accounts_team_change", args=[team.pk])
    page = text_of(admin_client.get(url))
    assert "production.yaml" in page
    assert 'name="name"' not in page
    assert admin_client.post(url, team_form("renamed")).status_code == 403


def scoped(**fields):
    return {"key": "", "team": "", "user": "", "plan": "", **fields}


def test_a_limit_is_made_for_a_team(admin_client):
    team = make_team()
    data = scoped(team=team.pk, **a_limit())
    assert admin_client.post(reverse("admin:accounts_ratelimit_add"), data).status_code == 302
    assert team.ratelimits.get().amount == 60


def test_a_budget_is_made_for_a_person(admin_client):
    person = make_user()
    data = scoped(user=person.pk, **a_budget("2.5", "day"))
    assert admin_client.post(reverse("admin:accounts_budget_add"), data).status_code == 302
    assert str(person.budgets.get()) == "$2.5 per day"


@pytest.mark.parametrize("how_many", [0, 2])
def test_a_limit_is_for_exactly_one(admin_client, how_many):
    both = {"team": make_team().pk, "user": make_user().pk} if how_many else {}
    data = scoped(**both, **a_limit())
    page = text_of(admin_client.post(reverse("admin:accounts_ratelimit_add"), data))
    assert "Choose a key, a team, a user or a plan: one of the four." in page
    assert "one_scope" not in page


def test_a_second_limit_of_one_kind_is_refused_in_words(admin_client):
    team = make_team()
    make_limit(team=team)
    data = scoped(team=team.pk, **a_limit())
    page = text_of(admin_client.post(reverse("admin:accounts_ratelimit_add"), data))
    assert "There is already a limit of this metric, window and model." in page


def test_a_limit_of_a_team_of_a_manifest_is_read_only_and_says_so(admin_client):
    limit = make_limit(team=make_team())
    Team.objects.update(managed_by="production.yaml")
    url = reverse("admin:accounts_ratelimit_change", args=[limit.pk])
    assert "production.yaml" in text_of(admin_client.get(url))
    assert admin_client.post(url, scoped(team=limit.team_id, **a_limit())).status_code == 403
    assert admin_client.post(url.replace("change", "delete"), {"post": "yes"}).status_code == 403


def test_limits_say_in_words_what_they_are(admin_client):
    make_limit(team=make_team("research"), metric="concurrency")
    page = text_of(admin_client.get(reverse("admin:accounts_ratelimit_changelist")))
    assert "Team research" in page
    assert "at the same time" in page


def test_a_change_of_a_limit_reaches_every_process(admin_client):
    limit = make_limit(team=make_team())
    before = Revision.objects.get().number
    url = reverse("admin:accounts_ratelimit_change", args=[limit.pk])
    admin_client.post(url, scoped(team=limit.team_id, **a_limit(amount=7)))
    assert Revision.objects.get().number > before


def test_a_person_is_made_with_a_password(admin_client):
    data = {"username": "ada", "email": "ada@example.com", "usable_password": "true"}
    data |= {"password1": "a long enough passphrase", "password2": "a long enough passphrase"}
    assert admin_client.post(reverse("admin:accounts_user_add"), data).status_code == 302
    assert User.objects.get(username="ada").check_password("a long enough passphrase")


@pytest.mark.parametrize("page", ["add", "change", "password"])
def test_the_pages_of_a_person_are_drawn(admin_client, page):
    person = make_user(first_name="Ada")
    if page == "password":
        url = reverse("admin:auth_user_password_change", args=[person.pk])
    else:
        url = reverse(f"admin:accounts_user_{page}", args=[person.pk] if page == "change" else [])
    text_of(admin_client.get(url))


def test_a_person_with_keys_is_not_deleted(admin_client):
    key = make_key(owner=make_user())
    url = reverse("admin:accounts_user_delete", args=[key.owner_id])
    assert admin_client.post(url, {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [key.owner_id], "post": "yes"}
    admin_client.post(reverse("admin:accounts_user_changelist"), data)
    assert User.objects.filter(pk=key.owner_id).exists()


def test_a_person_without_keys_can_be_deleted(admin_client):
    person = make_user()
    url = reverse("admin:accounts_user_delete", args=[person.pk])
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=person.pk).exists()


def user_form(user, **fields):
    return {
        "username": user.username,
        "email": "",
        "is_active": "on",
        **rows("memberships"),
        **rows("ratelimits"),
        **rows("budgets"),
        **fields,
    }


def test_the_staff_cannot_raise_themselves(client):
    user = staff(client, "view_user", "change_user")
    url = reverse("admin:accounts_user_change", args=[user.pk])
    data = user_form(user, is_staff="on", is_superuser="on")
    assert client.post(url, data).status_code == 302
    user.refresh_from_db()
    assert not user.is_superuser


def test_the_staff_cannot_touch_an_administrator(client):
    root = make_admin()
    staff(client, "view_user", "change_user", "delete_user")
    change = reverse("admin:accounts_user_change", args=[root.pk])
    password = reverse("admin:auth_user_password_change", args=[root.pk])
    delete = reverse("admin:accounts_user_delete", args=[root.pk])
    new = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    assert client.post(change, user_form(root)).status_code == 403
    assert client.post(password, new).status_code == 403
    assert client.post(delete, {"post": "yes"}).status_code == 403


def test_only_administrators_change_groups(client, admin_client):
    text_of(admin_client.get(reverse("admin:auth_group_changelist")))
    text_of(admin_client.get(reverse("admin:auth_group_add")))
    staff(client, "view_group", "add_group", "change_group", "delete_group")
    text_of(client.get(reverse("admin:auth_group_changelist")))
    assert client.get(reverse("admin:auth_group_add")).status_code == 403


def test_a_person_whose_keys_are_revoked_can_be_deleted(admin_client):
    from accounts.keys import revoke_key

    key = make_key(owner=make_user())
    revoke_key(key)
    url = reverse("admin:accounts_user_delete", args=[key.owner_id])
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert ApiKey.objects.get().owner is None


def test_the_list_of_people_tells_who_is_active_and_what_they_are(admin_client):
    make_user("gone", is_active=False)
    make_user("grace", is_staff=True)
    page = text_of(admin_client.get(reverse("admin:accounts_user_changelist")))
    assert all(word in page for word in ("inactive", "active", "administrator", "staff"))


def test_a_group_is_made_with_its_permissions(admin_client):
    wanted = Permission.objects.filter(codename__in=["view_apikey", "add_apikey"])
    data = {"name": "issuers", "permissions": [permission.pk for permission in wanted]}
    assert admin_client.post(reverse("admin:auth_group_add"), data).status_code == 302
    assert set(Group.objects.get().permissions.all()) == set(wanted)


@pytest.mark.parametrize(("field", "names"), [("team", ["research"]), ("owner", ["ada"])])
def test_teams_and_people_are_found_while_typing(admin_client, field, names):
    make_team("research")
    make_team("operations")
    make_user("ada")
    query = {"app_label": "accounts", "model_name": "apikey", "field_name": field}
    found = admin_client.get(reverse("admin:autocomplete"), query | {"term": names[0][:3]})
    assert [result["text"] for result in found.json()["results"]] == names
