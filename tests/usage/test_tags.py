"""Tags of requests: kept as they are up to a bound per team, and one beyond it."""

import threading

import pytest
from django.db import connection, transaction

from lib.ids import made_at
from tests.usage.spools import make_record
from usage import frames, tags
from usage.models import TeamTag, UsageRecord
from usage.records import encoded
from usage.rows import row_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    monkeypatch.setattr(tags, "_known", {})


def recorded(own, *told, team_id=1):
    """What becomes of the tags of one request each."""
    records = [make_record(tags=told_, team_id=team_id) for told_ in told]
    own.record(*records)
    own.ship()
    stored = dict(UsageRecord.objects.values_list("request_id", "tags"))
    return [stored[record.request_id] for record in records]


def test_tags_are_kept_and_their_team_has_them(own):
    assert recorded(own, "blue,green") == ["blue,green"]
    assert set(TeamTag.objects.values_list("team_id", "tag")) == {(1, "blue"), (1, "green")}


def test_a_tag_beyond_the_bound_is_other(own, settings):
    settings.COURIER_TEAM_TAGS = 2

    assert recorded(own, "a,b") == ["a,b"]
    assert recorded(own, "a,c", "b,d,e", "c") == ["a,~other", "b,~other", "~other"]
    assert TeamTag.objects.count() == 2


def test_each_team_has_a_bound_of_its_own(own, settings):
    settings.COURIER_TEAM_TAGS = 1

    assert recorded(own, "a", team_id=1) == ["a"]
    assert recorded(own, "b", team_id=2) == ["b"]


@pytest.mark.parametrize("told", ["x" * 37, "two words", "~mine", "a\x00"])
def test_a_label_that_is_none_is_other(own, told):
    assert recorded(own, told) == ["~other"]
    assert not TeamTag.objects.exists()


def test_tags_are_sorted_and_each_is_there_once(own):
    assert recorded(own, "b,a,,b") == ["a,b"]


def test_no_more_than_eight_are_kept(own):
    assert recorded(own, "a,b,c,d,e,f,g,h,i,j") == ["a,b,c,d,e,f,g,h"]


@pytest.mark.django_db(transaction=True)
def test_known_tags_cost_no_statement(own, django_assert_num_queries):
    recorded(own, "a")
    row = row_of(encoded(frames.CLOSE, make_record(tags="a")), made_at(make_record().request_id))

    with django_assert_num_queries(0):
        (kept,) = tags.bounded([row], "default")

    assert kept.value("tags") == "a"


@pytest.mark.django_db(transaction=True)
def test_new_tags_of_a_team_that_has_all_it_may_cost_no_statement(
    own, settings, django_assert_num_queries
):
    settings.COURIER_TEAM_TAGS = 1
    recorded(own, "a")
    row = row_of(encoded(frames.CLOSE, make_record(tags="b")), made_at(make_record().request_id))

    with django_assert_num_queries(0):
        (kept,) = tags.bounded([row], "default")

    assert kept.value("tags") == "~other"


@pytest.mark.django_db(transaction=True)
def test_tags_of_a_batch_that_was_rolled_back_are_not_known():
    row = row_of(encoded(frames.CLOSE, make_record(tags="a")), made_at(make_record().request_id))

    with transaction.atomic():
        tags.bounded([row], "default")
        transaction.set_rollback(True)

    assert not tags._known


@pytest.mark.django_db(transaction=True)
def test_the_bound_holds_though_two_write_at_once(settings, monkeypatch):
    settings.COURIER_TEAM_TAGS = 10
    # As in two processes: neither knows what the other has seen.
    monkeypatch.setattr(tags, "_known", NothingIsRemembered())
    kept = []

    def write(name):
        for number in range(20):
            record = make_record(tags=f"{name}{number}")
            row = row_of(encoded(frames.CLOSE, record), made_at(record.request_id))
            with transaction.atomic():
                kept.extend(tags.bounded([row], "default"))
        connection.close()

    writers = [threading.Thread(target=write, args=(name,)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    names = {row.value("tags") for row in kept}
    assert len(kept) == 40
    assert names - {"~other"} == set(TeamTag.objects.values_list("tag", flat=True))
    assert TeamTag.objects.count() == 10


class NothingIsRemembered(dict):
    def update(self, *_):
        pass
