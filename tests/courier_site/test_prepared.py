"""A change may be prepared, approved by another, and take effect at its time."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db.models.signals import post_save
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiKey
from courier_site import manifest
from courier_site.revising import preparing
from registry.models import PreparedChange, Provider, RecordedRevision, ServedModel
from tests.courier_site import manifests
from tests.factories import make_admin, make_user

pytestmark = pytest.mark.django_db

LIST = "/admin/registry/preparedchange/"
MORE = """\
version: 1
models:
  - name: gpt-4o-mini
    max_attempts: 9
"""


@pytest.fixture(autouse=True)
def _configured():
    manifests.apply(manifests.WHOLE)


def prepare(**fields):
    given = {"title": "More", "manifest": MORE, "made_by": "another"}
    return PreparedChange.objects.create(**given | fields)


def attempts():
    return ServedModel.objects.get().max_attempts


def approve(browser, change):
    url = reverse("admin:registry_preparedchange_approve_one", args=[change.pk])
    browser.post(url, {"confirmed": "yes"})
    change.refresh_from_db()
    return change


def page_of(change):
    return reverse("admin:registry_preparedchange_change", args=[change.pk])


def button(change, verb):
    return reverse(f"admin:registry_preparedchange_{verb}_one", args=[change.pk])


def messages_of(answer):
    return [str(each) for each in get_messages(answer.wsgi_request)]


def enter(browser, text, **fields):
    sent = {"title": "More", "manifest": text, "starts_at_0": "", "starts_at_1": "", **fields}
    return browser.post(reverse("admin:registry_preparedchange_add"), sent)


def test_a_change_that_is_entered_changes_nothing_yet(browser):
    assert enter(browser, MORE).status_code == 302
    assert PreparedChange.objects.get().made_by == "root"
    assert attempts() == 2


@pytest.mark.parametrize(
    "text",
    [
        "version: 2\n",
        "version: 1\nmodels: [{name: x, no_such_key: 1}]\n",
        "version: 1\nproviders: [{name: x, kind: echo, keys: [{name: a, secret: sk-plain}]}]\n",
        "version: 1\nproviders: [{name: x, kind: echo, keys: [{secret_file: /etc/passwd}]}]\n",
        "version: 1\nkeys: [{name: new, team: research}]\n",
        "version: 1\nmodels: [{name: x, description: '${COURIER_KEY_PEPPER}'}]\n",
        "version: 1\nproviders: [{<<: {secret: sk-plain}, name: x, kind: echo}]\n",
        "version: 1\nmodels: !unheard-of []\nsomething: !!python/name:os.system\n",
        "version: 1\nmodels: &again [*again]\n",
        "version: 1\nmodels: " + "[" * 3000 + "]" * 3000,
        "version: 1\na: &a [x, x]\n"
        + "".join(
            f"{name}: &{name} [{', '.join([f'*{former}'] * 30)}]\n"
            for former, name in zip("abcdefgh", "bcdefghi", strict=True)
        ),
    ],
)
def test_what_could_not_be_applied_or_holds_secrets_is_refused_at_once(browser, text):
    assert enter(browser, text).status_code == 200
    assert not PreparedChange.objects.exists()


def test_nothing_of_this_process_gets_into_a_change(browser, monkeypatch):
    monkeypatch.setenv("OF_THIS_PROCESS", "a-secret")
    text = "version: 1\nmodels: [{name: gpt-4o-mini, description: '${OF_THIS_PROCESS}'}]\n"

    assert "a-secret" not in enter(browser, text).content.decode()
    assert not PreparedChange.objects.exists()


def test_a_change_without_a_title_is_asked_for_one(browser):
    answer = enter(browser, MORE, title="")

    assert list(answer.context["adminform"].form.errors) == ["title"]


def test_who_approved_a_change_is_who_made_the_revision():
    preparing.approve(prepare(), "boss")

    assert RecordedRevision.objects.first().author == "boss"


def test_an_approved_change_takes_effect_at_once(browser):
    change = approve(browser, prepare())

    assert change.state == "applied"
    assert attempts() == 9


def test_it_is_one_revision_that_names_both(browser):
    approve(browser, prepare())

    assert RecordedRevision.objects.first().note == "More, prepared by another, approved by root."


def test_rows_of_a_manifest_stay_its_own(browser):
    approve(browser, prepare())

    assert ServedModel.objects.get().managed_by == "courier.yaml"


def test_without_the_setting_people_may_approve_what_they_prepared(browser):
    assert approve(browser, prepare(made_by="root")).state == "applied"


def test_with_the_setting_it_takes_somebody_else(browser, client, settings):
    settings.COURIER_SECOND_APPROVER = True
    change = prepare(made_by="root")

    assert approve(browser, change).state == "waiting"
    client.force_login(make_admin("boss"))
    assert approve(client, change).state == "applied"


def test_a_change_with_a_time_waits_for_it(browser):
    change = approve(browser, prepare(starts_at=timezone.now() + timedelta(hours=1)))
    preparing.apply_due()

    assert change.state == "scheduled"
    assert attempts() == 2


def test_a_change_whose_time_has_come_takes_effect_once():
    change = prepare(starts_at=timezone.now(), state="scheduled", approved_by="root")
    preparing.apply_due()
    preparing.apply_due()

    change.refresh_from_db()
    assert (change.state, attempts()) == ("applied", 9)
    assert RecordedRevision.objects.count() == 2


def test_a_change_whose_time_has_passed_takes_effect_when_it_is_approved(browser):
    assert approve(browser, prepare(starts_at=timezone.now())).state == "applied"


def test_changes_take_effect_in_the_order_of_their_times():
    now = timezone.now()
    for minutes, most in ((1, 7), (3, 8), (2, 9)):
        text = MORE.replace("9", str(most))
        starts_at = now - timedelta(minutes=minutes)
        prepare(manifest=text, starts_at=starts_at, state="scheduled")
    preparing.apply_due()

    assert attempts() == 7


def test_a_change_that_is_withdrawn_while_others_are_applied_does_not_take_effect(request):
    first = prepare(starts_at=timezone.now() - timedelta(hours=1), state="scheduled")
    second = prepare(manifest=MORE.replace("9", "7"), starts_at=timezone.now(), state="scheduled")

    def withdraw(instance, **_):
        if instance.pk == first.pk:
            preparing.withdraw(second)

    post_save.connect(withdraw, PreparedChange)
    request.addfinalizer(lambda: post_save.disconnect(withdraw, PreparedChange))
    preparing.apply_due()

    second.refresh_from_db()
    assert (second.state, attempts()) == ("withdrawn", 9)


def test_it_tells_which_revision_it_became(browser, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        change = approve(browser, prepare())
    change.refresh_from_db()

    assert change.revision_id == 2


def test_nobody_approves_what_was_approved_already(browser):
    change = prepare(state="applied", approved_by="another")
    answer = browser.post(button(change, "approve"), {"confirmed": "yes"})

    change.refresh_from_db()
    assert change.approved_by == "another"
    assert messages_of(answer) == ["It has been approved or withdrawn already."]


def test_what_cannot_be_applied_is_not_scheduled(browser):
    text = "version: 1\nmodels: [{name: x, routes: [{provider: gone, upstream_model: y}]}]\n"
    change = prepare(manifest=text, starts_at=timezone.now() + timedelta(hours=1))
    answer = browser.post(button(change, "approve"), {"confirmed": "yes"})

    change.refresh_from_db()
    assert change.state == "waiting"
    assert "There is no provider named" in " ".join(messages_of(answer))


def test_of_what_fails_half_way_nothing_is_applied(browser):
    text = MORE + "  - {name: x, routes: [{provider: gone, upstream_model: y}]}\n"
    change = approve(browser, prepare(manifest=text))

    assert (change.state, attempts()) == ("waiting", 2)


def test_no_key_is_issued_by_a_change(browser):
    """Its secret would be shown to nobody: it is looked at again when it is applied."""
    issued = ApiKey.objects.count()
    text = "version: 1\nkeys: [{name: new, team: research}]\n"

    assert approve(browser, prepare(manifest=text)).state == "waiting"
    assert ApiKey.objects.count() == issued


def with_a_key(secret):
    key = f"{{name: first, secret: {secret}, if_unset: keep}}"
    return f"version: 1\nproviders: [{{name: local, kind: openai_compatible, keys: [{key}]}}]\n"


@pytest.mark.parametrize("secret", ["", "null", "'${PROVIDER_KEY}'"])
def test_a_secret_that_is_left_as_it_is_may_be_named(browser, secret):
    assert enter(browser, with_a_key(secret)).status_code == 302


@pytest.mark.parametrize("secret", ["''", "sk-plain", "'sk-plain${PROVIDER_KEY}'"])
def test_any_other_secret_is_refused(browser, secret):
    assert enter(browser, with_a_key(secret)).status_code == 200


def test_an_export_may_be_prepared(browser):
    assert enter(browser, manifest.export()).status_code == 302


@pytest.mark.parametrize(
    ("state", "left"), [("waiting", "withdrawn"), ("applied", "applied"), ("failed", "failed")]
)
def test_only_what_is_still_to_come_can_be_withdrawn(browser, state, left):
    change = prepare(state=state)
    browser.post(button(change, "withdraw"), {"confirmed": "yes"})

    change.refresh_from_db()
    assert change.state == left


@pytest.mark.parametrize(
    ("state", "shown"),
    [("waiting", ["approve", "withdraw"]), ("scheduled", ["withdraw"]), ("applied", [])],
)
def test_what_can_be_done_with_a_change_is_offered(browser, state, shown):
    change = prepare(state=state)
    page = browser.get(page_of(change)).content.decode()

    assert [verb for verb in ("approve", "withdraw") if button(change, verb) in page] == shown


@pytest.mark.parametrize(("state", "told"), [("scheduled", True), ("applied", False)])
def test_what_is_still_to_come_tells_what_it_would_change_now(browser, state, told):
    page = browser.get(page_of(prepare(state=state))).content.decode()

    assert ("max_attempts 2 → 9" in page) is told


def test_what_cannot_be_applied_is_shown_and_says_so(browser):
    change = prepare(manifest="version: 2\n# <script>\n")
    page = browser.get(page_of(change)).content.decode()

    assert "cannot be applied" in page
    assert "# &lt;script&gt;" in page


def test_an_approval_is_asked_for_with_all_that_it_changes(browser):
    change = prepare()
    page = browser.post(button(change, "approve")).content.decode()

    assert "max_attempts 2 → 9" in page
    assert attempts() == 2


def test_approvals_and_withdrawals_are_in_the_history(browser):
    approve(browser, prepare())
    browser.post(button(prepare(), "withdraw"), {"confirmed": "yes"})

    told = LogEntry.objects.order_by("pk").values_list("change_message", flat=True)
    assert list(told) == ["Approved.", "Withdrawn."]


@pytest.mark.parametrize("verb", ["approve", "withdraw"])
def test_a_change_that_is_not_there_is_neither_approved_nor_withdrawn(browser, verb):
    change = prepare()
    PreparedChange.objects.all().delete()

    assert browser.post(button(change, verb)).url == LIST


def test_whoever_may_only_look_changes_nothing(client):
    onlooker = make_user("onlooker", is_staff=True)
    onlooker.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(onlooker)
    change = prepare()

    assert client.get(page_of(change)).status_code == 200
    assert enter(client, MORE).status_code == 403
    for verb in ("approve", "withdraw"):
        assert client.post(button(change, verb), {"confirmed": "yes"}).status_code == 403
    change.refresh_from_db()
    assert change.state == "waiting"


def test_a_change_that_is_not_approved_never_takes_effect():
    prepare(starts_at=timezone.now())
    preparing.apply_due()

    assert attempts() == 2


def test_a_change_that_is_withdrawn_never_takes_effect(browser):
    change = prepare(starts_at=timezone.now(), state="scheduled")
    url = reverse("admin:registry_preparedchange_withdraw_one", args=[change.pk])
    browser.post(url, {"confirmed": "yes"})
    preparing.apply_due()

    assert attempts() == 2


def test_a_change_that_fits_no_longer_fails_and_says_why():
    text = "version: 1\nmodels: [{name: x, routes: [{provider: gone, upstream_model: y}]}]\n"
    change = prepare(manifest=text, starts_at=timezone.now(), state="scheduled")
    preparing.apply_due()

    change.refresh_from_db()
    assert change.state == "failed"
    assert "There is no provider named" in change.trouble
    assert not ServedModel.objects.filter(name="x").exists()


def test_one_that_hurts_is_asked_for_like_any_other_change(browser):
    Provider.objects.filter(name="backup").update(enabled=False)
    text = "version: 1\nproviders: [{name: local, kind: openai_compatible, enabled: false}]\n"
    change = prepare(manifest=text)

    assert approve(browser, change).state == "waiting"
    assert Provider.objects.get(name="local").enabled
