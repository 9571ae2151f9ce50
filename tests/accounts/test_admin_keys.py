"""API keys in the admin."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from accounts.keys import archive_key, digest, disable_key, is_wellformed, revoke_key, rotate_key
from accounts.models import ApiKey
from tests.accounts.test_admin import a_limit, admin_client, rows, staff, text_of
from tests.factories import make_key, make_model, make_team

__all__ = ["admin_client"]

pytestmark = pytest.mark.django_db
ADD = "admin:accounts_apikey_add"
LIST = "admin:accounts_apikey_changelist"
SECRET = re.compile(r"sk-courier-[0-9A-Za-z]{57}")


@pytest.fixture
def team(db):
    return make_team("research")


def key_form(team=None, name="notebook", *, models="*", endpoints="*", limits=(), **fields):
    return {
        "team": team.pk if team else "",
        "name": name,
        "owner": "",
        "allowed_models": models,
        "allowed_endpoints": endpoints,
        "expires_at_0": "",
        "expires_at_1": "",
        **rows("ratelimits", *limits),
        **rows("budgets"),
        **fields,
    }


def add(client, *arguments, **fields):
    return client.post(reverse(ADD), key_form(*arguments, **fields))


def page_of(key):
    return reverse("admin:accounts_apikey_change", args=[key.pk])


def buttons(client, key):
    return re.findall(r"/(\w+)_one/", text_of(client.get(page_of(key))))


def act(client, action, *keys, **fields):
    """An action on the list; confirmed if `confirmed` is among the fields."""
    data = {"action": action, "_selected_action": [key.pk for key in keys], **fields}
    return client.post(reverse(LIST), data)


def confirm(client, action, *keys, **fields):
    seen = [key.public_id for key in keys]
    return act(client, action, *keys, confirmed="yes", seen=seen, **fields)


def test_a_new_key_shows_its_secret_once(admin_client, team):
    page = text_of(add(admin_client, team))
    (secret,) = set(SECRET.findall(page))
    key = ApiKey.objects.get()
    assert is_wellformed(secret)
    assert key.digest == digest(secret)
    assert secret not in text_of(admin_client.get(page_of(key)))
    assert secret not in text_of(admin_client.get(reverse(LIST)))


def test_the_secret_is_in_no_cache(admin_client, team):
    assert "no-store" in add(admin_client, team)["Cache-Control"]


def test_the_secret_stays_nowhere(admin_client, team):
    (secret,) = set(SECRET.findall(text_of(add(admin_client, team))))
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')
            assert secret not in str(cursor.fetchall())
    assert all(secret not in str(session.get_decoded()) for session in Session.objects.all())
    assert secret not in str(admin_client.cookies)


def test_loading_the_page_again_makes_no_second_key(admin_client, team):
    add(admin_client, team)
    page = text_of(add(admin_client, team))
    assert not SECRET.search(page)
    assert ApiKey.objects.count() == 1


def test_the_page_has_an_example_that_can_be_pasted(admin_client, team):
    make_model("gpt-4o")
    make_model("llama")
    page = text_of(add(admin_client, team, models="llama"))
    assert "curl http://testserver/v1/chat/completions" in page
    assert "llama" in page


def test_the_page_runs_no_script_of_its_own(admin_client, team):
    page = text_of(add(admin_client, team))
    content = page.partition('id="content"')[2]
    assert not re.search(r"<script(?![^>]*\ssrc=)", content)
    assert not re.search(r"\son\w+=", content)


def test_a_key_keeps_what_was_chosen(admin_client, team, alice):
    moment = timezone.now() + timedelta(days=1)
    add(
        admin_client,
        team,
        models=" gpt-*\n\nopenai/gpt-4o \ngpt-*",
        endpoints="chat\nmodels",
        limits=[a_limit()],
        owner=alice.pk,
        expires_at_0=moment.strftime("%Y-%m-%d"),
        expires_at_1="12:00:00",
    )
    key = ApiKey.objects.get()
    assert key.allowed_models == ["gpt-*", "openai/gpt-4o"]
    assert key.allowed_endpoints == ["chat", "models"]
    assert (key.owner, key.expires_at.hour) == (alice, 12)
    assert key.ratelimits.get().amount == 60


def test_a_key_may_be_allowed_nothing(admin_client, team):
    add(admin_client, team, models="", endpoints="")
    key = ApiKey.objects.get()
    assert (key.allowed_models, key.allowed_endpoints) == ([], [])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"models": "gpt 4"}, "“gpt 4” cannot be the name of a model."),
        ({"models": "*\n<b>"}, "cannot be the name of a model."),
        ({"endpoints": "chats"}, "There is no endpoint “chats”."),
        (
            {"expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"},
            "This moment has passed. Choose one that is to come.",
        ),
        ({"name": ""}, "This field is required."),
    ],
)
def test_a_mistake_is_explained_at_its_field(admin_client, team, fields, sentence):
    page = text_of(add(admin_client, team, **fields))
    assert sentence in page
    assert ApiKey.objects.count() == 0


def test_a_name_is_used_once_in_a_team(admin_client, team):
    make_key(team, "notebook")
    page = text_of(add(admin_client, team))
    assert "The team research has a key of this name already." in page


def test_the_name_of_a_revoked_key_can_be_used_again(admin_client, team):
    revoke_key(make_key(team, "notebook"))
    assert SECRET.search(text_of(add(admin_client, team)))


def test_a_key_is_not_renamed_to_another(admin_client, team):
    make_key(team, "notebook")
    other = make_key(team, "other")
    page = text_of(admin_client.post(page_of(other), key_form(name="notebook")))
    assert "The team research has a key of this name already." in page


def test_a_key_can_be_changed(admin_client, team):
    key = make_key(team)
    response = admin_client.post(page_of(key), key_form(name="renamed", models="gpt-4o"))
    assert response.status_code == 302
    key.refresh_from_db()
    assert (key.name, key.allowed_models, key.team) == ("renamed", ["gpt-4o"], team)


def test_an_expired_key_can_be_changed(admin_client, team):
    past = timezone.now().replace(microsecond=0) - timedelta(days=1)
    key = make_key(team, expires_at=past)
    moment = {"expires_at_0": past.strftime("%Y-%m-%d"), "expires_at_1": past.strftime("%H:%M:%S")}
    response = admin_client.post(page_of(key), key_form(name="renamed", **moment))
    assert response.status_code == 302


def test_a_key_is_not_deleted(admin_client, team):
    key = make_key(team)
    url = reverse("admin:accounts_apikey_delete", args=[key.pk])
    assert admin_client.post(url, {"post": "yes"}).status_code == 403
    assert "delete_selected" not in text_of(admin_client.get(reverse(LIST)))


@pytest.mark.parametrize("action", ["revoke", "disable", "enable"])
def test_what_is_done_to_keys_is_asked_first(admin_client, team, action):
    key = make_key(team, "notebook")
    if action == "enable":
        disable_key(key)
    before = key.state
    page = text_of(act(admin_client, action, key))
    assert f"{action.capitalize()} this key?" in page
    key.refresh_from_db()
    assert key.state == before


@pytest.mark.parametrize(
    ("action", "state"), [("revoke", "revoked"), ("disable", "disabled"), ("enable", "usable")]
)
def test_what_is_confirmed_is_done_and_logged(admin_client, team, action, state):
    keys = [make_key(team), make_key(team)]
    assert confirm(admin_client, action, *keys).status_code == 302
    assert {key.state for key in ApiKey.objects.all()} == {state}
    assert LogEntry.objects.count() == 2


def test_a_revoked_key_is_not_enabled(admin_client, team):
    key = make_key(team)
    revoke_key(key)
    confirm(admin_client, "enable", key)
    key.refresh_from_db()
    assert key.state == "revoked"


@pytest.mark.parametrize("action", ["revoke", "disable", "enable", "rotate"])
def test_who_may_only_look_changes_nothing(client, team, action):
    key = make_key(team)
    staff(client, "view_apikey")
    confirm(client, action, key, grace="0")
    one = reverse(f"admin:accounts_apikey_{action}_one", args=[key.pk])
    assert client.post(one, {"confirmed": "yes", "grace": "0"}).status_code == 403
    assert ApiKey.objects.get().digest == key.digest
    assert ApiKey.objects.get().state == "usable"


def test_rotating_asks_for_how_long_the_former_secret_works(admin_client, team):
    page = text_of(act(admin_client, "rotate", make_key(team)))
    assert all(words in page for words in ("1 hour", "24 hours", "7 days"))
    assert not SECRET.search(page)


@pytest.mark.parametrize(("grace", "hours"), [("0", None), ("1h", 1), ("24h", 24), ("7d", 168)])
def test_rotating_shows_the_new_secret_once(admin_client, team, grace, hours):
    key = make_key(team)
    response = confirm(admin_client, "rotate", key, grace=grace)
    (secret,) = set(SECRET.findall(text_of(response)))
    key.refresh_from_db()
    assert key.digest == digest(secret)
    assert "no-store" in response["Cache-Control"]
    left = key.previous_until and key.previous_until - timezone.now()
    assert left is None if hours is None else timedelta(0) < timedelta(hours=hours) - left


def test_several_keys_are_rotated_at_once(admin_client, team):
    keys = [make_key(team), make_key(team)]
    page = text_of(confirm(admin_client, "rotate", *keys, grace="1h"))
    assert len(set(SECRET.findall(page))) == 2


def test_loading_the_page_again_does_not_rotate_again(admin_client, team):
    key = make_key(team)
    confirm(admin_client, "rotate", key, grace="1h")
    once = ApiKey.objects.get().digest
    confirm(admin_client, "rotate", key, grace="1h")
    assert ApiKey.objects.get().digest == once
    assert ApiKey.objects.get().previous_digest == key.digest


def test_an_unknown_grace_period_is_asked_for_again(admin_client, team):
    key = make_key(team)
    assert "Select a valid choice" in text_of(confirm(admin_client, "rotate", key, grace="1y"))
    assert ApiKey.objects.get().digest == key.digest


def test_a_revoked_key_is_not_rotated(admin_client, team):
    key = make_key(team)
    revoke_key(key)
    assert confirm(admin_client, "rotate", key, grace="0").status_code == 302
    assert ApiKey.objects.get().digest == key.digest


@pytest.mark.parametrize(
    ("action", "state"), [("revoke", "revoked"), ("disable", "disabled"), ("enable", "usable")]
)
def test_the_page_of_a_key_has_buttons_that_ask(admin_client, team, action, state):
    key = make_key(team)
    if action == "enable":
        disable_key(key)
    url = reverse(f"admin:accounts_apikey_{action}_one", args=[key.pk])
    assert url in text_of(admin_client.get(page_of(key)))
    assert f"{action.capitalize()} this key?" in text_of(admin_client.get(url))
    response = admin_client.post(url, {"confirmed": "yes", "seen": key.public_id})
    assert response["Location"] == page_of(key)
    assert ApiKey.objects.get().state == state


def test_the_page_of_a_key_rotates_it(admin_client, team):
    key = make_key(team)
    url = reverse("admin:accounts_apikey_rotate_one", args=[key.pk])
    data = {"confirmed": "yes", "seen": key.public_id, "grace": "1h"}
    assert SECRET.search(text_of(admin_client.post(url, data)))
    assert "works until" in text_of(admin_client.get(page_of(key)))


def test_a_revoked_key_can_be_archived_and_no_more(admin_client, team):
    key = make_key(team)
    revoke_key(key)
    assert buttons(admin_client, key) == ["archive"]


def test_an_archived_key_has_no_buttons(admin_client, team):
    key = make_key(team)
    archive_key(key)
    assert buttons(admin_client, key) == []


@pytest.mark.parametrize("object_id", ["999", "nobody"])
def test_the_buttons_of_no_key_do_nothing(admin_client, object_id):
    url = reverse("admin:accounts_apikey_revoke_one", args=[object_id])
    assert admin_client.post(url, {"confirmed": "yes"}).status_code == 302


@pytest.mark.parametrize("state", ["usable", "disabled", "expired", "revoked"])
def test_keys_are_found_by_their_state(admin_client, team, state):
    make_key(team, "usable")
    disable_key(make_key(team, "disabled"))
    make_key(team, "expired", expires_at=timezone.now() - timedelta(days=1))
    revoke_key(make_key(team, "revoked"))
    response = admin_client.get(reverse(LIST), {"state": state})
    assert [key.name for key in response.context["cl"].result_list] == [state]


def test_a_key_of_a_manifest_is_read_only_and_says_so(admin_client, team):
    key = make_key(team, managed_by="production.yaml")
    page = text_of(admin_client.get(page_of(key)))
    assert "production.yaml" in page
    assert 'name="name"' not in page
    assert admin_client.post(page_of(key), key_form()).status_code == 403


def test_a_key_of_a_manifest_can_be_revoked_at_once(admin_client, team):
    key = make_key(team, managed_by="production.yaml")
    assert "comes from a manifest" in text_of(act(admin_client, "revoke", key))
    confirm(admin_client, "revoke", key)
    assert ApiKey.objects.get().state == "revoked"


def test_what_people_enter_is_never_markup(admin_client, team):
    key = make_key(team, "<script>alert(1)</script>")
    for response in (
        admin_client.get(reverse(LIST)),
        admin_client.get(page_of(key)),
        act(admin_client, "revoke", key),
        confirm(admin_client, "rotate", key, grace="0"),
    ):
        assert "<script>alert(1)" not in text_of(response)


def test_a_former_secret_is_shown_while_it_works(admin_client, team):
    key = make_key(team)
    former = key.public_id
    rotate_key(key, timedelta(hours=1))
    assert f"sk-courier-{former}…" in text_of(admin_client.get(page_of(key)))
    ApiKey.objects.update(previous_until=timezone.now())
    assert f"sk-courier-{former}…" not in text_of(admin_client.get(page_of(key)))
