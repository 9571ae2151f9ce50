"""Makes an installation ready to serve: tables, the first administrator, and what to serve."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from accounts import keys as api_keys
from accounts.models import ApiKey, User
from courier_site import demonstration, manifest
from courier_site.revising import recording
from registry.models import RecordedRevision, Revision, ServedModel
from registry.revisions import made_by

#: A number of our own, so that no other program waits for this lock.
LOCK = 0x436F757269657221


@dataclass
class Preparation:
    """What there is to tell about a start."""

    username: str
    #: The password of the first administrator, if it was made up just now.
    new_password: str = field(default="", repr=False)
    outcome: manifest.Outcome = field(default_factory=manifest.Outcome)
    #: A secret that opens the gateway, if one is known, and a model that its key may use.
    key: str = field(default="", repr=False)
    key_note: str = ""
    model: str = ""


def prepare() -> Preparation:
    """Migrate, and set up what is missing. A second time changes nothing.

    Raises ManifestError if COURIER_MANIFEST cannot be applied.
    """
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    with _alone():
        call_command("migrate", verbosity=0, interactive=False)
        with transaction.atomic():
            is_first = not Revision.objects.exists()
            preparation = _administrator()
            if settings.COURIER_MANIFEST:
                _apply_manifest(preparation)
            elif is_first:
                admin = User.objects.get(username=preparation.username)
                with made_by(RecordedRevision.Origin.COMMAND, "the demonstration"):
                    demonstration.set_up(admin, os.environ)
        recording.catch_up()
    if not settings.COURIER_MANIFEST:
        _find_demonstration_key(preparation)
    return preparation


@contextmanager
def _alone() -> Iterator[None]:
    """On PostgreSQL, where several machines may start at once: one after the other."""
    if not settings.ON_POSTGRESQL:
        yield
        return
    connection = connections.create_connection(DEFAULT_DB_ALIAS)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            try:
                yield
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    finally:
        connection.close()


def _administrator() -> Preparation:
    """The first administrator, made if there is none."""
    existing = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if existing:
        return Preparation(existing.username)
    username, password = settings.COURIER_ADMIN_USERNAME, settings.COURIER_ADMIN_PASSWORD
    made_up = "" if password else secrets.token_urlsafe(12)
    User.objects.create_superuser(username, password=password or made_up)
    return Preparation(username, new_password=made_up)


def _apply_manifest(preparation: Preparation) -> None:
    path = Path(settings.COURIER_MANIFEST)
    outcome = manifest.apply(manifest.Document.read(path), mark=path.name)
    preparation.outcome = outcome
    preparation.key_note = f"The keys of {path.name} were issued or given before."
    for known in outcome.keys:
        name = _a_model_for(known.key)
        if name and known.key.state == "usable":
            preparation.key, preparation.model = known.secret, name
            return


def _find_demonstration_key(preparation: Preparation) -> None:
    secret = demonstration.known_secret()
    key = ApiKey.objects.usable().filter(digest=api_keys.digest(secret)).first()
    if key is None:
        preparation.key_note = "No key of the demonstration is in use: issue one in the admin."
        return
    preparation.key, preparation.model = secret, _a_model_for(key)


def _a_model_for(key: ApiKey) -> str:
    """The name of a model that this key may chat with; the demonstration's, if that is one."""
    if not _matches("chat", key.allowed_endpoints):
        return ""
    enabled = ServedModel.objects.filter(enabled=True).values_list("name", flat=True)
    names = [name for name in enabled if "*" not in name and _matches(name, key.allowed_models)]
    return demonstration.MODEL if demonstration.MODEL in names else next(iter(names), "")


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
