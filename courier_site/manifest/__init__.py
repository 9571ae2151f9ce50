"""Configuration as code: plan and apply a manifest, or export the present state as one."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from accounts.models import ApiKey, Plan, Team
from courier_site.manifest.callables import check_fallbacks, put_model, put_provider
from courier_site.manifest.callers import put_key, put_plan, put_team
from courier_site.manifest.document import Document, Entry, ManifestError
from courier_site.manifest.exporting import export
from courier_site.manifest.policies import put_policy
from courier_site.manifest.restoring import Restorer, Rows
from courier_site.manifest.writing import KnownKey, Outcome, Writer
from registry.models import Managed, Provider, RecordedRevision, RoutingPolicy, ServedModel
from registry.revisions import made_by

__all__ = [
    "Document",
    "KnownKey",
    "ManifestError",
    "Outcome",
    "apply",
    "export",
    "plan",
    "plan_restoring",
    "restore",
]

#: Each section may refer to those before it, and is pruned before them.
SECTIONS: tuple[tuple[type[Managed], str, Callable[[Writer, Entry], Managed]], ...] = (
    (Provider, "providers", put_provider),
    (ServedModel, "models", put_model),
    (RoutingPolicy, "policies", put_policy),
    (Plan, "plans", put_plan),
    (Team, "teams", put_team),
    (ApiKey, "keys", put_key),
)


def apply(document: Document, *, mark: str | None, prune: bool = False) -> Outcome:
    """Make it so, or raise ManifestError and change nothing.

    `mark` is what the rows that it makes or changes say about where they come from;
    with None, they say what they did.
    `prune` deletes what has this mark and is no longer named.
    """
    with made_by(RecordedRevision.Origin.MANIFEST, document.name):
        return _applied(document, mark, prune)


def plan(document: Document, *, mark: str | None, prune: bool = False) -> Outcome:
    """What `apply` would do: it is done, and undone."""
    with transaction.atomic():
        outcome = _applied(document, mark, prune)
        transaction.set_rollback(True)
    return outcome


def restore(document: Document, rows: Rows) -> Outcome:
    """Make the configuration what an export was, or raise ManifestError and change nothing.

    `rows` say which rows had which names then. Keys that were issued since are left, and keys
    that are closed now stay closed.
    """
    with transaction.atomic():
        return _restored(document, rows)


def plan_restoring(document: Document, rows: Rows) -> Outcome:
    """What `restore` would do: it is done, and undone."""
    with transaction.atomic():
        outcome = _restored(document, rows)
        transaction.set_rollback(True)
    return outcome


def _restored(document: Document, rows: Rows) -> Outcome:
    before = export().splitlines()
    writer = Restorer(document)
    _check_version(document.root)
    writer.clear_the_way(rows)
    named = _put_all(writer)
    for kind, _, _ in reversed(SECTIONS):
        writer.drop(_standing(kind).exclude(pk__in=named[kind]))
    return _told(writer, before)


def _standing(kind: type[Managed]) -> QuerySet[Any]:
    """The rows that an export shows."""
    if kind is ApiKey:
        return ApiKey.objects.filter(revoked_at=None)
    return Team.objects.filter(archived_at=None) if kind is Team else kind._default_manager.all()


def _applied(document: Document, mark: str | None, prune: bool) -> Outcome:
    before = export().splitlines()
    writer = Writer(document, mark, prune)
    _check_version(document.root)
    named = _put_all(writer)
    if prune:
        for kind, _, _ in reversed(SECTIONS):
            writer.drop(kind._default_manager.filter(managed_by=mark).exclude(pk__in=named[kind]))
    return _told(writer, before)


def _put_all(writer: Writer) -> dict[type[Managed], list[Any]]:
    """Put the entries of all sections. Returns the primary keys of what they are now."""
    root = writer.document.root
    named = {
        kind: writer.each(root.entries(key, str(kind._meta.verbose_name)), partial(put, writer))
        for kind, key, put in SECTIONS
    }
    for entry in root.entries("models", "model"):
        check_fallbacks(entry)
    return named


def _told(writer: Writer, before: list[str]) -> Outcome:
    after = export().splitlines()
    diff = difflib.unified_diff(before, after, "present", writer.document.name, lineterm="")
    writer.outcome.diff = "\n".join(diff)
    return writer.outcome


def _check_version(root: Entry) -> None:
    root.only("version", *(key for _, key, _ in SECTIONS))
    if root.whole("version") != 1:
        raise root.error("This version of Courier reads manifests of version 1.", "version")
