"""Brings a former configuration back: what would change, and the change itself."""

from __future__ import annotations

from courier_site import manifest
from courier_site.manifest import Document, Outcome
from registry.models import RecordedRevision
from registry.revisions import explain


class Purged(ValueError):
    """The revision's manifest is no longer kept. The text is for people."""


def plan(revision: RecordedRevision) -> Outcome:
    """What would change. Raises ManifestError where it cannot be restored, and Purged."""
    return manifest.plan_restoring(_document(revision), revision.rows)


def roll_back(revision: RecordedRevision) -> Outcome:
    """Make the configuration what it was, inside of `made_by`. Raises as `plan` does."""
    explain(f"Restored revision {revision.number}.")
    return manifest.restore(_document(revision), revision.rows)


def _document(revision: RecordedRevision) -> Document:
    if revision.manifest is None:
        raise Purged(f"The configuration of {revision} is no longer kept.")
    # Without an environment every secret is the one that is stored.
    return Document(str(revision), revision.manifest, environ={})
