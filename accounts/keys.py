"""API keys: how a secret is made and checked, and how keys are issued, rotated and ended.

A secret is `sk-courier-`, a public id (8 characters), 256 random bits (43 characters) and a
checksum (6 characters) over all before it, in base 62. The checksum tells a typing error,
and lets scanners find leaked keys, without asking anyone.
"""

from __future__ import annotations

import hmac
import re
import secrets
import zlib
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import ApiKey, Plan, Team, User
from registry.models import Revision

PREFIX = "sk-courier-"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PUBLIC_ID_LENGTH = 8
RANDOM_LENGTH = 43
CHECKSUM_LENGTH = 6
ISSUED = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{PUBLIC_ID_LENGTH + RANDOM_LENGTH + CHECKSUM_LENGTH}}}")
#: A secret that somebody brought along: visible ASCII, long enough not to be guessed.
BROUGHT = re.compile(r"[!-~]{32,256}")
#: Begins the public id of a brought secret: we know no part of it that may be shown.
BROUGHT_ID = "own-"
#: What is derived from the pepper for one purpose opens nothing of another.
PURPOSE = b"courier api key v1"


def issue_key(
    team: Team,
    name: str,
    *,
    owner: User | None = None,
    expires_at: datetime | None = None,
    secret: str | None = None,
    allowed_models: list[str] | None = None,
    allowed_endpoints: list[str] | None = None,
    managed_by: str = "",
) -> tuple[ApiKey, str]:
    """Make a key for `team`. Its secret is returned here, and can be had nowhere else.

    Raises ValueError if a `secret` is brought along that is weak or already in use.
    """
    key = ApiKey(
        team=team,
        name=name,
        owner=owner,
        expires_at=expires_at,
        managed_by=managed_by,
        allowed_models=["*"] if allowed_models is None else allowed_models,
        allowed_endpoints=["*"] if allowed_endpoints is None else allowed_endpoints,
    )
    with transaction.atomic():
        secret = give_secret(key, secret)
        key.save()
    return key, secret


def give_secret(key: ApiKey, secret: str | None = None) -> str:
    """Equip a key that is not saved yet: with a new secret, or with one brought along.

    Raises ValueError if that one is weak or already in use.
    """
    key.public_id, secret = _new_secret() if secret is None else _brought(secret)
    key.digest = digest(secret)
    if ApiKey.objects.opened_by([key.digest]).exists():
        raise ValueError("This secret already opens another key.")
    return secret


def revoke_key(key: ApiKey) -> None:
    """End a key for good. Revoking it again changes nothing."""
    _change(key, revoked_at=key.revoked_at or timezone.now())


def disable_key(key: ApiKey) -> None:
    """Switch a key off until it is enabled again."""
    _change(key, disabled_at=key.disabled_at or timezone.now())


def enable_key(key: ApiKey) -> None:
    """Switch a disabled key on again."""
    _change(key, disabled_at=None)


def archive_key(key: ApiKey) -> None:
    """End a key for good and put it out of sight. Its usage goes on to tell its name."""
    now = timezone.now()
    # A plan is protected by the keys that have it: this one no longer needs it.
    ended = {"revoked_at": key.revoked_at or now, "archived_at": key.archived_at or now}
    _change(key, plan=None, **ended)


def archive_team(team: Team) -> list[ApiKey]:
    """Archive a team with all of its keys, in one transaction. Returns the keys."""
    now = timezone.now()
    with transaction.atomic():
        # Keys that are being issued refer to this row and wait for it, or are seen here.
        Team.objects.select_for_update().get(pk=team.pk)
        keys = list(team.api_keys.filter(archived_at=None))
        for key in keys:
            archive_key(key)
        team.archived_at = team.archived_at or now
        team.save(update_fields=["archived_at", "updated_at"])
    return keys


def restore_team(team: Team) -> None:
    """Bring a team back, under its name. Its former keys stay revoked."""
    team.archived_at = None
    team.save(update_fields=["archived_at", "updated_at"])


def assign_plan(key: ApiKey, plan: Plan | None) -> None:
    """Give a key the limits and budgets of a plan, or none but its own."""
    _change(key, plan=plan)


def rotate_key(key: ApiKey, grace: timedelta) -> str:
    """Give a key a new secret. The former one works on for `grace`, one from before it no more."""
    public_id, secret = _new_secret()
    with transaction.atomic():
        current = ApiKey.objects.select_for_update().get(pk=key.pk)
        if current.revoked_at:
            raise ValueError("A revoked key cannot be rotated. Issue a new one.")
        _change(
            key,
            public_id=public_id,
            digest=digest(secret),
            previous_public_id=current.public_id if grace else "",
            previous_digest=current.digest if grace else None,
            previous_until=timezone.now() + grace if grace else None,
        )
    return secret


def shown(public_id: str) -> str:
    """What people may see of a secret: how it begins, if Courier made it."""
    return public_id if public_id.startswith(BROUGHT_ID) else f"{PREFIX}{public_id}…"


def digest(secret: str) -> str:
    """What is kept of a secret: worthless without the pepper, which is not in the database."""
    # A key has 256 random bits: there is nothing to guess, and a slow hash would be paid on
    # every request.
    text = secret.encode(errors="surrogatepass")
    return hmac.digest(_pepper(settings.COURIER_KEY_PEPPER), text, "sha256").hex()


def is_wellformed(secret: str) -> bool:
    """Whether it can be a secret at all. What is not is refused without asking the database."""
    if secret.startswith(PREFIX):
        body, checksum = secret[:-CHECKSUM_LENGTH], secret[-CHECKSUM_LENGTH:]
        return ISSUED.fullmatch(secret) is not None and checksum == _checksum(body)
    return BROUGHT.fullmatch(secret) is not None


def _change(key: ApiKey, **values: object) -> None:
    """Write these fields, number the change, and show it on the object in hand."""
    with transaction.atomic():
        ApiKey.objects.filter(pk=key.pk).update(updated_at=timezone.now(), **values)
        Revision.bump()
    for name, value in values.items():
        setattr(key, name, value)


def _brought(secret: str) -> tuple[str, str]:
    if not is_wellformed(secret):
        raise ValueError(
            "A secret of your own needs 32 to 256 visible ASCII characters without spaces, "
            f"and must not begin with {PREFIX}, unless Courier made it."
        )
    return BROUGHT_ID + _random(PUBLIC_ID_LENGTH), secret


def _new_secret() -> tuple[str, str]:
    public_id = _random(PUBLIC_ID_LENGTH)
    body = PREFIX + public_id + _random(RANDOM_LENGTH)
    return public_id, body + _checksum(body)


def _random(length: int) -> str:
    return "".join(secrets.choice(BASE62) for _ in range(length))


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, rest = divmod(number, len(BASE62))
        digits = BASE62[rest] + digits
    return digits


@lru_cache(maxsize=8)
def _pepper(configured: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE)
    return derived.derive(configured.encode())
