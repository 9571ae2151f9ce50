"""Every change of the configuration is a numbered revision: what, by whom, and what it was then."""

import pytest
from django.urls import reverse

from accounts import keys
from courier_site import manifest
from courier_site.revising import recording
from registry.models import Provider, RecordedRevision, Revision, ServedModel
from registry.revisions import Making, made_by, on_revision
from tests.courier_site import forms, manifests
from tests.factories import make_key, make_model, make_provider, make_team, make_upstream_key

pytestmark = pytest.mark.django_db


def newest():
    return RecordedRevision.objects.first()


def record():
    """Write down what the test has set up."""
    recording.record(Making("command", "test"))
    return newest()


@pytest.fixture
def provider():
    provider = make_provider("openai", base_url="https://llm.example.com/v1")
    make_upstream_key(provider)
    return provider


def test_a_manifest_that_is_applied_is_one_revision():
    manifests.apply(manifests.WHOLE)

    assert [(one.number, one.origin, one.author) for one in RecordedRevision.objects.all()] == [
        (1, "manifest", "courier.yaml")
    ]


def test_a_revision_holds_what_is_exported():
    manifests.apply(manifests.WHOLE)

    assert newest().manifest == manifest.export()


def test_applying_what_holds_already_is_no_revision():
    manifests.apply(manifests.WHOLE)
    manifests.apply(manifests.WHOLE)

    assert newest().number == 1


def test_a_plan_is_no_revision():
    manifests.apply(manifests.WHOLE)
    manifests.plan(manifests.WHOLE.replace("max_attempts: 2", "max_attempts: 5"))

    assert newest().number == 1


def test_a_revision_tells_what_changed_in_words():
    manifests.apply(manifests.WHOLE)
    manifests.apply(
        manifests.WHOLE.replace("max_attempts: 2", "max_attempts: 5")
        .replace("rpm: 600", "rpm: 700")
        .replace("weight: 5", "weight: 6")
    )

    assert newest().changes == [
        "change model gpt-4o-mini: max_attempts 2 → 5; route local / tiny: weight 5 → 6",
        "change team research: limits rpm 600 → 700",
    ]


def test_a_revision_names_what_it_changed():
    manifests.apply(manifests.WHOLE)
    manifests.apply(manifests.WHOLE.replace("rpm: 600", "rpm: 700"))

    assert newest().objects_changed == "team research"


def test_what_one_form_of_the_admin_changes_is_one_revision(browser, provider):
    record()
    answer = browser.post(
        reverse("admin:registry_servedmodel_add"),
        forms.model(
            routes=[forms.route(provider)], prices=[forms.price()], aliases=[{"name": "large"}]
        ),
    )

    assert answer.status_code == 302
    assert (newest().number, newest().origin, newest().author) == (2, "admin", "root")
    assert newest().changes == ["add model gpt-4o"]


def test_a_form_that_changes_nothing_is_no_revision(browser, provider):
    number = record().number
    key = provider.keys.get()
    row = {"id": key.pk, "provider": provider.pk, "name": key.name, "weight": 1, "enabled": "on"}
    url = reverse("admin:registry_provider_change", args=[provider.pk])
    answer = browser.post(url, forms.provider(row, initial=1))

    assert answer.status_code == 302
    assert newest().number == number


def test_a_form_that_is_refused_is_no_revision(browser, provider):
    number = record().number
    url = reverse("admin:registry_provider_change", args=[provider.pk])
    browser.post(url, forms.provider(name="other", kind="nonsense"))

    assert newest().number == number


def test_a_new_secret_of_an_upstream_key_is_told_and_not_kept(browser, provider):
    record()
    key, secret = provider.keys.get(), "sk-brand-new-and-never-to-be-seen"
    row = {"id": key.pk, "provider": provider.pk, "name": key.name, "weight": 1, "enabled": "on"}
    url = reverse("admin:registry_provider_change", args=[provider.pk])
    browser.post(url, forms.provider({**row, "new_secret": secret}, initial=1))

    assert newest().changes == ["change upstream key default of openai: secret changed"]
    told = f"{newest().manifest} {newest().rows} {newest().changes}"
    assert secret not in told
    assert provider.keys.get().sealed_secret not in told


def test_a_rotated_key_is_told():
    key = make_key()
    record()
    with made_by("admin", "root"):
        keys.rotate_key(key, keys.timedelta(0))

    assert newest().changes == [f"change key {key.name} of {key.team.name}: secret changed"]


@made_by("admin", "root")
def fail_after_changing(provider):
    provider.enabled = False
    provider.save()
    raise ZeroDivisionError


def test_a_change_that_is_rolled_back_is_no_revision(provider):
    number = record().number
    with pytest.raises(ZeroDivisionError):
        fail_after_changing(provider)

    assert Provider.objects.get().enabled
    assert newest().number == number


def test_of_a_revision_inside_of_another_that_fails_nothing_is_left(provider):
    with made_by("admin", "root"):
        make_provider("whole")
        with pytest.raises(ZeroDivisionError):
            fail_after_changing(provider)

    assert Provider.objects.get(pk=provider.pk).enabled
    assert "add provider whole" in newest().changes


@pytest.mark.django_db(transaction=True)
def test_a_change_by_a_program_that_does_not_say_who_it_is_is_a_revision():
    make_provider("first")

    assert newest().changes == ["add provider first"]
    assert newest().origin == "command"


@pytest.mark.django_db(transaction=True)
def test_a_change_holds_although_it_could_not_be_written_down(request):
    on_revision(recording.record, lambda: 1 / 0)
    request.addfinalizer(lambda: on_revision(recording.record, recording.catch_up))
    make_provider("first")

    assert Provider.objects.exists()
    assert newest() is None


@pytest.mark.django_db(transaction=True)
def test_what_no_manifest_knows_is_no_revision(django_user_model):
    make_provider("first")
    number = newest().number
    django_user_model.objects.create_user("someone")

    assert newest().number == number
    assert Revision.objects.get().covers == Revision.objects.get().number


def test_who_and_why_are_kept_as_far_as_there_is_room(provider):
    with made_by("admin", "a" * 300, "n" * 600):
        Provider.objects.get().save()

    assert (newest().author, newest().note) == ("a" * 255, "n" * 500)


def test_the_first_revision_may_hold_nothing():
    make_provider().delete()

    assert record().number == 1


def test_a_program_tells_its_command_and_nothing_that_may_be_secret(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/srv/manage.py", "shell", "--secret", "sk-typed"])
    make_provider("first")
    recording.catch_up()

    assert newest().author == "manage.py shell"


def test_another_program_tells_its_name_only(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/srv/program", "sk-typed"])
    make_provider("first")
    recording.catch_up()

    assert newest().author == "program"


def test_what_a_program_changed_is_written_down_once():
    make_provider("first")
    recording.catch_up()
    known = Revision.objects.get().number
    recording.catch_up()

    assert newest().number == 1
    assert Revision.objects.get().number == known


def test_processes_load_a_change_anew_once_it_has_its_number():
    make_provider("first")
    before = Revision.objects.get().number
    recording.catch_up()

    assert Revision.objects.get().number > before


def test_what_an_export_does_not_show_is_no_revision():
    team, ended = make_team(), make_key()
    keys.revoke_key(ended)
    record()
    rows = newest().rows

    assert set(rows["key"]) == set()
    keys.archive_team(team)
    record()
    assert team.name not in newest().rows["team"]


def test_switching_many_off_is_one_revision(browser):
    rows = [make_provider("one"), make_provider("two")]
    record()
    chosen = {"action": "disable", "_selected_action": [row.pk for row in rows], "confirmed": "yes"}
    browser.post(reverse("admin:registry_provider_changelist"), chosen)

    assert newest().changes == [
        "change provider one: switched off",
        "change provider two: switched off",
    ]
    assert newest().number == 2


def test_a_model_keeps_its_revision_while_nothing_changes(provider):
    make_model("gpt-4o", provider)
    record()
    from registry import snapshot

    snapshot.refresh()

    assert snapshot.current().models["gpt-4o"].revision == 1
    assert ServedModel.objects.count() == Provider.objects.count() == 1
