"""Teams in the admin: their clock, their markup, and that they are archived instead of deleted."""

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from accounts.keys import archive_key, archive_team
from accounts.models import ApiKey, Team, User
from tests.accounts.test_admin import admin_client, staff, team_form, text_of
from tests.accounts.test_admin_keys import add, confirm, page_of
from tests.courier_site.rows import make_record
from tests.factories import make_key, make_team, make_user

__all__ = ["admin_client"]

pytestmark = pytest.mark.django_db
LIST = "admin:accounts_team_changelist"
KEYS = "admin:accounts_apikey_changelist"
ARCHIVING = ("view_team", "change_team", "change_apikey")


@pytest.fixture
def team():
    return make_team("research")


def change(client, team, **fields):
    url = reverse("admin:accounts_team_change", args=[team.pk])
    return client.post(url, {**team_form(team.name), **fields})


def archive(client, *teams):
    data = {"action": "archive", "_selected_action": [team.pk for team in teams]}
    return client.post(reverse(LIST), {**data, "confirmed": "yes"})


def button(client, team, verb, **data):
    url = reverse(f"admin:accounts_team_{verb}_one", args=[team.pk])
    return client.post(url, data) if data else client.get(url)


def listed(client, name, **query):
    return {row.name for row in client.get(reverse(name), query).context["cl"].result_list}


def test_a_team_has_a_time_zone(admin_client, team):
    assert change(admin_client, team, time_zone="Asia/Seoul").status_code == 302
    team.refresh_from_db()
    assert team.time_zone == "Asia/Seoul"


def test_another_time_zone_is_refused_in_words(admin_client, team):
    page = text_of(change(admin_client, team, time_zone="Asia/Soul"))
    assert "Enter a time zone by its name" in page


def test_a_team_has_a_markup(admin_client, team):
    assert change(admin_client, team, markup_percent="-12.5").status_code == 302
    team.refresh_from_db()
    assert str(team.markup_percent) == "-12.50"


def test_who_may_not_set_prices_sets_no_markup(client, team):
    staff(client, "view_team", "change_team")
    change(client, team, markup_percent="-50")
    team.refresh_from_db()
    assert team.markup_percent == 0


def test_archiving_asks_first_and_names_the_keys(admin_client, team):
    make_key(team, "notebook")
    page = text_of(button(admin_client, team, "archive"))
    assert "Archive this team?" in page
    assert "notebook" in page
    assert Team.objects.get().archived_at is None


@pytest.mark.parametrize("how", ["list", "page"])
def test_archiving_a_team_revokes_its_keys(admin_client, team, how):
    make_key(team)
    if how == "list":
        archive(admin_client, team)
    else:
        button(admin_client, team, "archive", confirmed="yes")
    assert ApiKey.objects.get().state == "archived"
    assert Team.objects.get().archived_at


def test_archiving_a_team_is_logged_with_its_keys(admin_client, team):
    make_key(team, "notebook")
    archive(admin_client, team)
    assert LogEntry.objects.get().change_message == "Archived, with its keys: notebook."


def test_a_team_is_restored(admin_client, team):
    archive_team(team)
    assert "Restore this team?" in text_of(button(admin_client, team, "restore"))
    button(admin_client, team, "restore", confirmed="yes")
    assert Team.objects.get().archived_at is None


@pytest.mark.parametrize("missing", ["change_team", "change_apikey"])
def test_who_may_not_revoke_keys_archives_no_team(client, team, missing):
    staff(client, *(set(ARCHIVING) - {missing}))
    archive(client, team)
    assert button(client, team, "archive", confirmed="yes").status_code == 403
    assert button(client, team, "restore", confirmed="yes").status_code == 403
    assert Team.objects.get().archived_at is None


def test_who_may_archive_does(client, team):
    staff(client, *ARCHIVING)
    archive(client, team)
    assert Team.objects.get().archived_at


def test_what_is_archived_leaves_the_lists(admin_client, team):
    archive_key(make_key(team, "former"))
    make_key(team, "notebook")
    archive_team(make_team("gone"))
    assert listed(admin_client, LIST) == {"research"}
    assert listed(admin_client, KEYS) == {"notebook"}


@pytest.mark.parametrize(("chosen", "names"), [("only", {"gone"}), ("with", {"gone", "research"})])
def test_what_is_archived_can_be_asked_for(admin_client, team, chosen, names):
    archive_team(make_team("gone"))
    assert listed(admin_client, LIST, archived=chosen) == names


def test_the_page_of_what_is_archived_opens(admin_client, team):
    key = make_key(team)
    archive_team(team)
    text_of(admin_client.get(page_of(key)))
    text_of(admin_client.get(reverse("admin:accounts_team_change", args=[team.pk])))


def test_no_key_is_issued_for_an_archived_team(admin_client, team):
    archive_team(team)
    assert "research is archived." in text_of(add(admin_client, team))
    assert not ApiKey.objects.exists()


def test_keys_are_archived_and_logged(admin_client, team):
    key = make_key(team)
    confirm(admin_client, "archive", key)
    assert ApiKey.objects.get().state == "archived"
    assert LogEntry.objects.get().change_message == "Archived."


def test_who_may_only_look_archives_no_key(client, team):
    key = make_key(team)
    staff(client, "view_apikey")
    confirm(client, "archive", key)
    url = reverse("admin:accounts_apikey_archive_one", args=[key.pk])
    assert client.post(url, {"confirmed": "yes"}).status_code == 403
    assert ApiKey.objects.get().state == "usable"


def test_a_team_with_usage_is_not_deleted(admin_client, team):
    key = make_key(team)
    make_record(key)
    ApiKey.objects.all().delete()
    url = reverse("admin:accounts_team_delete", args=[team.pk])
    assert admin_client.post(url, {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [team.pk], "post": "yes"}
    admin_client.post(reverse(LIST), data)
    assert Team.objects.exists()


def test_a_team_without_usage_can_be_deleted(admin_client, team):
    url = reverse("admin:accounts_team_delete", args=[team.pk])
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not Team.objects.exists()


def test_a_person_with_usage_is_not_deleted(admin_client, team):
    person = make_user("ada")
    make_record(make_key(team), user_id=person.pk, user_name="ada")
    url = reverse("admin:accounts_user_delete", args=[person.pk])
    assert admin_client.post(url, {"post": "yes"}).status_code == 403
    assert User.objects.filter(username="ada").exists()
