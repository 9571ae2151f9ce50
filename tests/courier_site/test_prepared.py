"""A change may be prepared, approved by another, and take effect at its time."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from courier_site.revising import preparing
from registry.models import PreparedChange, Provider, RecordedRevision, ServedModel
from tests.courier_site import manifests
from tests.factories import make_admin

pytestmark = pytest.mark.django_db

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
