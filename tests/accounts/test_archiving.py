"""Keys and teams that are archived: they open nothing, and what they used keeps their names."""

import pytest
from django.db.models import Sum
from django.utils import timezone

from accounts import traces
from accounts.keys import archive_key, archive_team, restore_team
from accounts.models import ApiKey, Team
from registry.models import Revision
from tests.courier_site.rows import make_day, make_record
from tests.factories import make_key, make_team, make_user
from usage.models import UsageRecord

pytestmark = pytest.mark.django_db


def test_archiving_a_key_revokes_it():
    key = make_key()
    archive_key(key)
    assert key.state == "archived"
    assert not ApiKey.objects.usable().exists()


def test_a_key_that_was_revoked_keeps_the_moment():
    key = make_key()
    ApiKey.objects.update(revoked_at=timezone.now().replace(year=2020))
    key.refresh_from_db()
    archive_key(key)
    assert ApiKey.objects.get().revoked_at.year == 2020


def test_archiving_a_team_archives_its_keys_and_no_others():
    team, other = make_team(), make_key()
    key = make_key(team)
    assert archive_team(team) == [key]
    states = {row.pk: row.state for row in ApiKey.objects.all()}
    assert states == {key.pk: "archived", other.pk: "usable"}


def test_archiving_a_team_reaches_every_process():
    team = make_team()
    before = Revision.objects.get().number
    archive_team(team)
    assert Revision.objects.get().number > before


def test_a_team_that_is_restored_has_its_name_and_no_usable_key():
    team = make_team("research")
    make_key(team)
    archive_team(team)
    restore_team(team)
    assert Team.objects.get(name="research").archived_at is None
    assert not ApiKey.objects.usable().exists()


def sums_by_name():
    totals = UsageRecord.objects.order_by().values("team_name", "key_name")
    return list(totals.annotate(Sum("cost_nano"), Sum("input_tokens")))


def test_what_was_used_is_the_same_before_and_after_archiving():
    key = make_key(make_team("research"), "notebook")
    for _ in range(3):
        make_record(key)
    before = sums_by_name()
    archive_team(key.team)
    assert sums_by_name() == before
    assert before[0]["team_name"] == "research"


@pytest.mark.parametrize(
    "make", [make_record, lambda key, **of: make_day(key, timezone.now().date(), **of)]
)
@pytest.mark.parametrize("whose", ["key", "team", "owner"])
def test_whoever_has_usage_has_left_traces(make, whose):
    key = make_key(owner=make_user())
    assert not traces.left_by(getattr(key, whose, key))
    make(key, user_id=key.owner_id, user_name="ada")
    assert traces.left_by(getattr(key, whose, key))


def test_the_usage_of_others_is_no_trace():
    key, other = make_key(), make_key()
    make_record(other)
    assert not traces.left_by(key)
