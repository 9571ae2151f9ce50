"""The pages of revisions: what changed, found by thing and by author, and the way back."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.urls import reverse

from accounts import keys
from accounts.models import ApiKey
from courier_site import manifest
from courier_site.revising.admin import MOST_LINES, drawn
from registry.models import Provider, RecordedRevision, ServedModel, UpstreamKey
from registry.revisions import changed, explain, made_by
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
        ({"kind": "no such kind"}, [2, 1]),
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


def change_a_secret():
    row = UpstreamKey.objects.first()
    row.seal("sk-another-one")
    row.save()


def test_a_kind_whose_name_ends_like_another_is_another(browser, two):
    with made_by("admin", "root"):
        change_a_secret()

    found = browser.get(reverse(LIST), {"kind": "key"}).context["cl"].result_list
    assert 3 not in [revision.number for revision in found]
    found = browser.get(reverse(LIST), {"kind": "upstream key"}).context["cl"].result_list
    assert [revision.number for revision in found] == [3]


def test_an_author_of_many_revisions_is_offered_once(browser, two):
    shown = browser.get(reverse(LIST)).content.decode()

    assert shown.count('<option value="courier.yaml"') == 1


def test_what_was_restored_and_why_is_in_the_history(browser, two):
    restore(browser, two[0], confirmed="yes", seen="2", why="it was slow")

    assert LogEntry.objects.get().change_message == "Restored. it was slow"


def test_what_stays_as_it_is_is_told_before_and_after(browser, two):
    with made_by("admin", "root"):
        keys.revoke_key(ApiKey.objects.get())
    told = "The key demo was revoked, and stays so."

    assert told in text_of(restore(browser, two[0]))
    answer = restore(browser, two[0], confirmed="yes", seen="3")
    assert told in " ".join(messages_of(answer))


def messages_of(answer):
    return [str(each) for each in get_messages(answer.wsgi_request)]


def test_who_has_a_manifest_is_told_that_it_may_undo_this(browser, two, settings):
    settings.COURIER_MANIFEST = "courier.yaml"

    assert "Change it there as well" in text_of(restore(browser, two[0]))


def test_a_revision_that_is_not_there_is_not_restored(browser, two):
    url = reverse("admin:registry_recordedrevision_restore_one", args=[99])

    assert browser.post(url).url == reverse(LIST)


@pytest.mark.parametrize(
    ("deflated", "said"),
    [
        (None, "The configuration of revision 1 is no longer kept."),
        (RecordedRevision.deflate("version: 2\n"), "version"),
    ],
)
def test_a_revision_that_cannot_be_restored_says_why(browser, two, deflated, said):
    RecordedRevision.objects.filter(number=1).update(deflated=deflated)

    for sent in ({}, {"confirmed": "yes", "seen": "2"}):
        answer = restore(browser, two[0], **sent)
        assert answer.url == page(two[0])
        assert said in messages_of(answer)[-1]


def test_a_reason_that_is_too_long_is_asked_for_again(browser, two):
    answer = restore(browser, two[0], confirmed="yes", seen="2", why="x" * 301)

    assert answer.status_code == 200
    assert ServedModel.objects.get().max_attempts == 5


def test_the_first_revision_adds_all_that_it_holds(browser, two):
    assert '<span class="revision-plus">+version: 1</span>' in text_of(browser.get(page(two[0])))


def test_a_diff_to_what_is_no_longer_kept_says_so(browser, two):
    RecordedRevision.objects.filter(number=1).update(deflated=None)

    assert "no longer kept" in text_of(browser.get(page(two[1])))


def test_the_list_tells_the_first_changes_in_short_and_how_many_more(browser, two):
    RecordedRevision.objects.filter(number=2).update(changes=["a" * 200, "b", "c", "d"])

    shown = text_of(browser.get(reverse(LIST)))

    assert f"<div>{'a' * 120}…</div><div>b</div><div>and 2 more</div>" in shown


def test_of_a_diff_that_is_long_the_beginning_is_shown():
    shown = drawn("\n".join(["+ x"] * (MOST_LINES + 3)))

    assert shown.count("+ x") == MOST_LINES
    assert "and 3 more lines" in shown


def test_what_people_wrote_is_shown_as_text(browser, two):
    hostile = "<script>alert(1)</script>"
    with made_by("admin", hostile, hostile):
        ServedModel.objects.get().save()
        explain(hostile)
        changed()
        Provider.objects.create(name="x", kind="echo", options={"note": hostile})
    RecordedRevision.objects.filter(number=3).update(changes=[hostile])
    made = RecordedRevision.objects.get(number=3)
    assert hostile in made.manifest

    for shown in (browser.get(reverse(LIST)), browser.get(page(made))):
        assert hostile not in shown.content.decode()
        assert "&lt;script&gt;alert(1)" in shown.content.decode()
