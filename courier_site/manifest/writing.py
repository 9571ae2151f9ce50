"""Writes rows for a manifest: only those that differ, each change in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import ProtectedError

from accounts import traces
from accounts.keys import archive_key, archive_team
from accounts.models import ApiKey, Team
from courier_site.manifest.document import Document, Entry, ManifestError
from courier_site.manifest.vocabulary import KEYS_OF_FIELDS
from registry.models import Managed

Row = TypeVar("Row", bound=models.Model)


class NoSecret(ManifestError):
    """An API key is named that is not there, and no secret is given to make it with."""


@dataclass
class KnownKey:
    """An API key whose secret is known now: it was given, or has just been issued."""

    key: ApiKey
    secret: str = field(repr=False)
    issued: bool


@dataclass
class Outcome:
    """What was done, or would be."""

    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    keys: list[KnownKey] = field(default_factory=list)
    diff: str = ""


class Writer:
    """Puts rows in their place and keeps account of it."""

    def __init__(self, document: Document, mark: str | None, prunes: bool) -> None:
        self.document = document
        self.mark = mark
        self.prunes = prunes
        self.outcome = Outcome()

    def put(
        self,
        row: Row,
        wanted: dict[str, Any],
        entry: Entry,
        label: str,
        secret: dict[str, Any] | None = None,
    ) -> Row:
        """Save `row` with these fields, unless it is there and has them already.

        `secret` are the fields of a secret that has to change; they are never shown.
        """
        is_new = row._state.adding
        differing = {name: value for name, value in wanted.items() if getattr(row, name) != value}
        if not (is_new or differing or secret):
            return row
        words = [_difference(row, name, value) for name, value in differing.items()]
        for name, value in (differing | (secret or {})).items():
            setattr(row, name, value)
        self.save(row, entry)
        if secret:
            words.append("secret changed")
        change = f"add {label}" if is_new else f"change {label}: {', '.join(words)}"
        self.outcome.changes.append(change)
        return row

    def save(self, row: models.Model, entry: Entry) -> None:
        """Save a row that is valid; complain about the lines of one that is not."""
        self.claim(row)
        _check(row, entry)
        row.save()

    def claim(self, row: models.Model) -> None:
        """Say where the row comes from."""
        if isinstance(row, Managed) and self.mark is not None:
            row.managed_by = self.mark

    def without_secret(self, entry: Entry) -> dict[str, Any]:
        """The fields of a new upstream key to which no secret is given."""
        raise entry.error("A new upstream key needs a secret.", "secret")

    def brings_back(self, team: Team, entry: Entry) -> bool:
        """Whether a team that was archived is one of those in use again."""
        self.warn(entry, "name", f"The team {team} was archived, and stays so.")
        return False

    def complaints_of(self, error: ManifestError) -> list[str]:
        """What is wrong with an entry that cannot be put."""
        return error.complaints

    def each(self, entries: Iterable[Entry], put: Callable[[Entry], models.Model]) -> list[Any]:
        """The primary keys of what `put` makes of the entries. Raises all complaints at once."""
        complaints: list[str] = []
        present: list[Any] = []
        for entry in entries:
            try:
                row = put(entry)
                if row.pk in present:
                    raise entry.error(f"{entry.subject} like this is given twice.")
                present.append(row.pk)
            except ManifestError as error:
                complaints += self.complaints_of(error)
        if complaints:
            raise ManifestError(complaints)
        return present

    def exactly(
        self,
        owner: models.Model,
        rows: models.QuerySet[Any],
        entry: Entry,
        key: str,
        put: Callable[[Entry], models.Model],
    ) -> None:
        """Make `rows` of `owner` the list at `key`: each put in its place, any other deleted."""
        if self.decides(owner, entry, key):
            entries = entry.entries(key, str(rows.model._meta.verbose_name))
            present = self.each(entries, put)
            self.drop(rows.exclude(pk__in=present))

    def decides(self, owner: models.Model, entry: Entry, key: str) -> bool:
        """Whether the manifest has a say: it gives the list, or prunes what it made."""
        if key in entry:
            return True
        return self.prunes and getattr(owner, "managed_by", "") == self.mark

    def drop(self, rows: models.QuerySet[Any]) -> None:
        """Delete these rows one by one, so that each is told of. What has usage is archived."""
        for row in rows:
            label = f"{row._meta.verbose_name} {row}"
            if isinstance(row, ApiKey | Team) and traces.left_by(row):
                self._archive(row, label)
                continue
            try:
                row.delete()
            except ProtectedError as error:
                users = ", ".join(sorted(str(user) for user in error.protected_objects))
                raise ManifestError(
                    [f"The {label} cannot be deleted: {users} needs it."]
                ) from error
            self.outcome.changes.append(f"delete {label}")

    def _archive(self, row: ApiKey | Team, label: str) -> None:
        if row.archived_at:
            return
        if isinstance(row, ApiKey):
            archive_key(row)
        elif row.api_keys.filter(revoked_at=None).exists():
            raise ManifestError([f"The {label} cannot be archived: it has keys of others."])
        else:
            archive_team(row)
        self.outcome.changes.append(f"archive {label}")

    def warn(self, entry: Entry, key: str, message: str) -> None:
        name, line = self.document.name, entry.line_of(key)
        self.outcome.warnings.append(f"{name}, line {line}: {message}")


def _check(row: models.Model, entry: Entry) -> None:
    """Raise ManifestError, with the line of the field at fault, unless `row` is valid."""
    try:
        row.full_clean()
    except ValidationError as error:
        raise ManifestError(
            str(entry.error(f"{_key(name)}: {message}".removeprefix(": "), _key(name)))
            for name, messages in error.message_dict.items()
            for message in messages
        ) from error


def _key(field_name: str) -> str:
    return "" if field_name == "__all__" else KEYS_OF_FIELDS.get(field_name, field_name)


def _difference(row: models.Model, name: str, value: Any) -> str:
    return f"{name} {_word(getattr(row, name))} → {_word(value)}"


def _word(value: Any) -> str:
    match value:
        case None:
            return "none"
        case Decimal():
            return f"{value.normalize():f}"
        case _:
            return str(value)
