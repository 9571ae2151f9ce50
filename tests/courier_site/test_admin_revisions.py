"""The pages of revisions: what changed, found by thing and by author, and the way back."""

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from courier_site import manifest
from registry.models import RecordedRevision, ServedModel
from tests.courier_site import manifests
from tests.factories import make_user

pytestmark = pytest.mark.django_db

LIST = "admin:registry_recordedrevision_changelist"


@pytest.fixture
def two():
    """Two revisions. The second differs in a model."""
    manifests.apply(manifests.WHOLE)
    manifests.apply(manifests.WHOLE.replace("max_attempts: 2", "max_attempts: 5"))
    return list(RecordedRevision.objects.order_by("number"))


def page(revision):
    return reverse("admin:registry_recordedrevision_change", args=[revision.number])


def button_of(revision):
    return reverse("admin:registry_recordedrevision_restore_one", args=[revision.number])


def restore(browser, revision, **sent):
    return browser.post(button_of(revision), sent)


def text_of(answer):
    return " ".join(answer.content.decode().split())


def test_a_revision_tells_what_changed_in_words_and_as_a_diff(browser, two):
    text = text_of(browser.get(page(two[1])))

    assert "change model gpt-4o-mini: max_attempts 2 → 5" in text
    assert '<span class="revision-minus">- max_attempts: 2</span>' in text.replace("-  ", "- ")
    assert '<span class="revision-plus">+ max_attempts: 5</span>' in text.replace("+  ", "+ ")


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"kind": "provider"}, [1]),
        ({"kind": "model"}, [2, 1]),
        ({"author": "courier.yaml"}, [2, 1]),
        ({"author": "nobody"}, []),
        ({"q": "gpt-4o-mini"}, [2, 1]),
        ({"q": "local"}, [1]),
    ],
)
def test_revisions_are_found_by_what_they_changed_and_by_author(browser, two, query, numbers):
    found = browser.get(reverse(LIST), query).context["cl"].result_list

    assert [revision.number for revision in found] == numbers


def test_a_rollback_shows_first_what_it_would_change(browser, two):
    text = text_of(restore(browser, two[0]))

    assert "change model gpt-4o-mini: max_attempts 5 → 2" in text
    assert ServedModel.objects.get().max_attempts == 5


def test_a_rollback_that_is_confirmed_is_done_and_says_why(browser, two):
    answer = restore(browser, two[0], confirmed="yes", seen="2", why="it was slow")

    assert answer.status_code == 302
    assert manifest.export() == two[0].manifest
    made = RecordedRevision.objects.get(number=3)
    assert (made.author, made.note) == ("root", "Restored revision 1. it was slow")


def test_a_rollback_whose_page_is_out_of_date_is_not_done(browser, two):
    manifests.apply(manifests.WHOLE.replace("max_attempts: 2", "max_attempts: 7"))

    restore(browser, two[0], confirmed="yes", seen="2", why="")

    assert ServedModel.objects.get().max_attempts == 7


def test_the_newest_revision_offers_no_way_back_to_itself(browser, two):
    newest, former = (text_of(browser.get(page(each))) for each in reversed(two))

    assert button_of(two[0]) in former
    assert button_of(two[1]) not in newest


def test_whoever_may_only_look_restores_nothing(client, two):
    onlooker = make_user("onlooker", is_staff=True)
    onlooker.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(onlooker)

    assert client.get(page(two[0])).status_code == 200
    assert restore(client, two[0], confirmed="yes", seen="2").status_code == 403
    assert ServedModel.objects.get().max_attempts == 5


def test_a_list_of_many_revisions_reads_none_of_their_manifests(
    browser, two, django_assert_max_num_queries
):
    with django_assert_max_num_queries(20) as queries:
        browser.get(reverse(LIST))

    assert not any('"deflated"' in query["sql"] for query in queries.captured_queries)
