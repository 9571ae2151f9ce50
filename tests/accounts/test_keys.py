from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.keys import (
    BASE62,
    digest,
    disable_key,
    enable_key,
    is_wellformed,
    issue_key,
    revoke_key,
    rotate_key,
    shown,
)
from accounts.models import ApiKey
from registry.models import Revision
from tests.factories import make_key, make_team

BROUGHT = "a-secret-that-somebody-brought-along"


def revision():
    return Revision.objects.values_list("number", flat=True).first() or 0


def test_a_secret_has_its_prefix_its_public_id_256_bits_and_a_checksum(team):
    key, secret = issue_key(team, "notebook")
    assert secret.startswith("sk-courier-" + key.public_id)
    assert len(secret) == len("sk-courier-") + 8 + 43 + 6
    assert set(secret.removeprefix("sk-courier-")) <= set(BASE62)


def test_an_issued_secret_is_wellformed(key):
    assert is_wellformed(key.secret)


def test_a_typing_error_anywhere_is_noticed(key):
    for place in range(len("sk-courier-"), len(key.secret)):
        other = "x" if key.secret[place] != "x" else "y"
        assert not is_wellformed(key.secret[:place] + other + key.secret[place + 1 :])


@pytest.mark.parametrize("secret", ["", "short", "x" * 31, "x" * 257, "ä" * 40, "x y" * 20])
def test_what_cannot_be_a_secret_is_not_wellformed(secret):
    assert not is_wellformed(secret)


@given(st.text())
def test_any_text_can_be_judged_and_digested(text):
    is_wellformed(text)
    assert len(digest(text)) == 64


def test_a_secret_is_never_stored(key):
    row = ApiKey.objects.filter(pk=key.pk).values().get()
    assert not any(key.secret in str(value) for value in row.values())


def test_a_digest_depends_on_the_pepper(settings):
    before = digest(BROUGHT)
    settings.COURIER_KEY_PEPPER = "another pepper, another digest"
    assert digest(BROUGHT) != before


def test_the_pepper_is_not_used_as_it_is(settings):
    import hmac

    plain = hmac.digest(settings.COURIER_KEY_PEPPER.encode(), BROUGHT.encode(), "sha256").hex()
    assert digest(BROUGHT) != plain


def test_a_secret_can_be_brought_along(team):
    key, secret = issue_key(team, "own", secret=BROUGHT)
    assert secret == BROUGHT
    assert key.digest == digest(BROUGHT)


def test_of_a_brought_secret_no_part_is_shown(team):
    key, _ = issue_key(team, "own", secret=BROUGHT)
    assert key.public_id.startswith("own-")
    assert key.public_id.removeprefix("own-") not in BROUGHT
    assert shown(key.public_id) == key.public_id


def test_of_an_issued_secret_the_beginning_is_shown(key):
    assert key.secret.startswith(shown(key.public_id).removesuffix("…"))


@pytest.mark.parametrize("secret", ["x" * 31, "with a space " * 4, "sk-courier-" + "x" * 57])
def test_a_weak_or_mistaken_secret_is_refused(team, secret):
    with pytest.raises(ValueError, match="32 to 256 visible ASCII"):
        issue_key(team, "own", secret=secret)


def test_a_secret_that_opens_another_key_is_refused(team, key):
    with pytest.raises(ValueError, match="already opens another key"):
        issue_key(team, "other", secret=key.secret)


def test_a_former_secret_of_another_key_is_refused(team, key):
    former = key.secret
    rotate_key(key, timedelta(hours=1))
    with pytest.raises(ValueError, match="already opens another key"):
        issue_key(team, "other", secret=former)


def test_an_empty_list_of_models_is_kept_empty(team):
    key, _ = issue_key(team, "nothing", allowed_models=[])
    key.refresh_from_db()
    assert key.allowed_models == []


def test_two_keys_of_a_team_do_not_share_a_name(team, key):
    with pytest.raises(IntegrityError):
        issue_key(team, key.name)


def test_the_name_of_a_revoked_key_is_free_again(team, key):
    revoke_key(key)
    issue_key(team, key.name)


def test_keys_of_two_teams_may_share_a_name(key):
    issue_key(make_team(), key.name)


def test_revoking_again_keeps_the_first_moment(key):
    revoke_key(key)
    first = key.revoked_at
    revoke_key(key)
    key.refresh_from_db()
    assert key.revoked_at == first


def test_a_disabled_key_can_be_enabled(key):
    disable_key(key)
    assert key.state == "disabled"
    enable_key(key)
    key.refresh_from_db()
    assert key.state == "usable"


@pytest.mark.parametrize(
    "change",
    [
        lambda key: issue_key(key.team, "another"),
        revoke_key,
        disable_key,
        enable_key,
        lambda key: rotate_key(key, timedelta(0)),
    ],
    ids=["issue", "revoke", "disable", "enable", "rotate"],
)
def test_every_change_is_numbered(key, change):
    before = revision()
    change(key)
    assert revision() > before


def test_rotating_gives_a_new_secret(key):
    secret = rotate_key(key, timedelta(hours=1))
    key.refresh_from_db()
    assert key.digest == digest(secret)
    assert secret.startswith("sk-courier-" + key.public_id)


def test_the_former_secret_is_kept_for_the_grace_period(key):
    rotate_key(key, timedelta(hours=1))
    key.refresh_from_db()
    assert key.previous_digest == digest(key.secret)
    assert key.previous_until - timezone.now() < timedelta(hours=1)


def test_without_grace_the_former_secret_is_forgotten(key):
    rotate_key(key, timedelta(0))
    key.refresh_from_db()
    assert (key.previous_digest, key.previous_until) == (None, None)


def test_a_revoked_key_is_not_rotated(key):
    revoke_key(key)
    with pytest.raises(ValueError, match="revoked"):
        rotate_key(key, timedelta(0))


def test_ten_thousand_secrets_never_meet(db):
    from accounts.keys import _new_secret

    secrets = [_new_secret()[1] for _ in range(10_000)]
    assert len({digest(secret) for secret in secrets}) == 10_000


def test_digests_of_secrets_with_a_common_beginning_differ():
    shared = "x" * 255
    assert len({digest(shared + character) for character in BASE62}) == len(BASE62)


def test_a_key_that_fails_leaves_no_trace(team, key):
    before = ApiKey.objects.count()
    with pytest.raises(ValueError, match="32 to 256"):
        make_key(team, "bad", secret="short")
    assert ApiKey.objects.count() == before
