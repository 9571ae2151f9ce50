"""Secrets at rest: the check that upstream keys open, and sealing all of them anew."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core import checks
from django.core.management import CommandError, call_command

from registry.models import UpstreamKey
from tests.factories import make_provider, make_upstream_key, make_webhook
from usage import webhooks

pytestmark = pytest.mark.django_db


def rotate():
    said = StringIO()
    call_command("rotate_encryption", stdout=said)
    return said.getvalue()


def found():
    every = checks.run_checks(tags=[checks.Tags.database], databases=["default"])
    return [each for each in every if each.id == "registry.W001"]


def test_after_a_rotation_the_first_encryption_key_opens_every_secret(settings):
    settings.COURIER_ENCRYPTION_KEYS = ["old"]
    provider = make_provider()
    make_upstream_key(provider, "sk-one", name="one")
    make_upstream_key(provider, "sk-two", name="two")

    settings.COURIER_ENCRYPTION_KEYS = ["new", "old"]
    rotate()

    settings.COURIER_ENCRYPTION_KEYS = ["new"]
    assert [key.secret for key in UpstreamKey.objects.all()] == ["sk-one", "sk-two"]


def test_a_rotation_says_how_many_keys_it_sealed():
    make_upstream_key(make_provider(), "sk-one")

    assert rotate() == "1 upstream key and 0 webhooks sealed with the first encryption key.\n"


def test_after_a_rotation_the_first_encryption_key_opens_the_secrets_of_webhooks(settings):
    settings.COURIER_ENCRYPTION_KEYS = ["old"]
    webhook = make_webhook()
    former = webhook.secret
    webhooks.rotate(webhook, timedelta(hours=1))
    present = webhook.secret

    settings.COURIER_ENCRYPTION_KEYS = ["new", "old"]
    rotate()

    settings.COURIER_ENCRYPTION_KEYS = ["new"]
    webhook.refresh_from_db()
    assert (webhook.secret, webhook.former_secret) == (present, former)


def test_a_rotation_does_not_pretend_that_the_secret_changed():
    key = make_upstream_key(make_provider())
    changed_at = key.changed_at

    rotate()

    key.refresh_from_db()
    assert key.changed_at == changed_at


def test_a_rotation_names_the_keys_that_it_cannot_open_and_seals_the_others(settings):
    settings.COURIER_ENCRYPTION_KEYS = ["lost"]
    make_upstream_key(make_provider("broken"), "sk-broken")
    settings.COURIER_ENCRYPTION_KEYS = ["old"]
    whole = make_upstream_key(make_provider("whole"), "sk-whole")

    settings.COURIER_ENCRYPTION_KEYS = ["new", "old"]
    with pytest.raises(CommandError, match="broken / default"):
        rotate()

    settings.COURIER_ENCRYPTION_KEYS = ["new"]
    whole.refresh_from_db()
    assert whole.secret == "sk-whole"


def test_keys_that_open_pass_the_check():
    make_upstream_key(make_provider())

    assert found() == []


def test_a_key_that_does_not_open_is_warned_of_by_its_name(settings):
    make_upstream_key(make_provider("openai"), "sk-not-to-be-quoted")
    settings.COURIER_ENCRYPTION_KEYS = ["another"]

    (warning,) = found()

    assert "openai / default" in warning.msg
    assert "COURIER_ENCRYPTION_KEYS" in warning.hint
    assert "sk-not-to-be-quoted" not in str(warning)


def test_the_check_without_a_database_finds_nothing(settings):
    make_upstream_key(make_provider())
    settings.COURIER_ENCRYPTION_KEYS = ["another"]

    assert [e for e in checks.run_checks() if e.id == "registry.W001"] == []


def test_sealing_notes_when_the_secret_changed():
    key = make_upstream_key(make_provider(), "sk-before")
    before = key.changed_at

    key.seal("sk-after")

    assert key.changed_at > before
    assert key.secret == "sk-after"
