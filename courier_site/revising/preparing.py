"""Changes that are prepared as a manifest, approved, and take effect at their time."""

from __future__ import annotations

import logging
from functools import partial

import yaml
from django.db import transaction
from django.utils import timezone

from courier_site import manifest
from courier_site.manifest import Document, ManifestError, Outcome
from courier_site.manifest.document import NOTHING, REFERENCE
from registry.models import PreparedChange, RecordedRevision
from registry.revisions import Making, made_by

logger = logging.getLogger(__name__)

State = PreparedChange.State
NO_SECRETS = (
    "A prepared change holds no secrets, and reads no files. Leave secrets as the export writes "
    "them, with if_unset: keep, and enter new ones at the provider."
)
NO_NEW_KEYS = "A new API key's secret is shown once: issue it under API keys."


class NotAllowed(ValueError):
    """Somebody else has to do this, or it is done already. The text is for people."""


def plan(change: PreparedChange) -> Outcome:
    """What it would change now. Raises ManifestError where it cannot be applied."""
    outcome = manifest.plan(_document(change), mark=None)
    _check(outcome)
    return outcome


def approve(change: PreparedChange, who: str) -> None:
    """Let it take effect: now, inside of `made_by`, or at its time."""
    if change.state != State.WAITING:
        raise NotAllowed("It has been approved or withdrawn already.")
    if change.needs_another and change.made_by == who:
        raise NotAllowed("Somebody else than who prepared it has to approve it.")
    change.approved_by, change.approved_at = who, timezone.now()
    if change.starts_at and change.starts_at > timezone.now():
        plan(change)
        change.state = State.SCHEDULED
        change.save()
        return
    with made_by(RecordedRevision.Origin.ADMIN, who) as making:
        _apply(change, making)


def withdraw(change: PreparedChange) -> None:
    """Let it not take effect. What has taken effect stays."""
    PreparedChange.objects.filter(pk=change.pk, state__in=(State.WAITING, State.SCHEDULED)).update(
        state=State.WITHDRAWN
    )


def apply_due() -> None:
    """Apply what is approved and due, each in a transaction of its own."""
    due = PreparedChange.objects.filter(state=State.SCHEDULED, starts_at__lte=timezone.now())
    for pk in due.order_by("starts_at", "pk").values_list("pk", flat=True):
        try:
            _apply_one(pk)
        except ManifestError as error:
            logger.warning("prepared change %s could not be applied", pk)
            PreparedChange.objects.filter(pk=pk, state=State.SCHEDULED).update(
                state=State.FAILED, trouble=str(error)
            )


def _apply_one(pk: int) -> None:
    with made_by(RecordedRevision.Origin.TASK, "prepared changes") as making:
        rows = PreparedChange.objects.select_for_update().filter(pk=pk, state=State.SCHEDULED)
        # Another worker may have applied it meanwhile.
        for change in rows:
            _apply(change, making)


def _apply(change: PreparedChange, making: Making) -> None:
    outcome = manifest.apply(_document(change), mark=None)
    _check(outcome)
    told = f"{change.title}, prepared by {change.made_by}, approved by {change.approved_by}."
    making.note = f"{making.note} {told}".strip()
    change.state = State.APPLIED
    change.save()
    transaction.on_commit(partial(_name_revision, change.pk, making), robust=True)


def _name_revision(pk: int, making: Making) -> None:
    PreparedChange.objects.filter(pk=pk).update(revision_id=making.number)


def _document(change: PreparedChange) -> Document:
    """Its manifest, which can neither name nor read a secret of this process."""
    document = Document(change.title or "the manifest", change.manifest, environ={})
    if any(_is_secret(name, value) for name, value in document.pairs):
        raise ManifestError([NO_SECRETS])
    return document


def _is_secret(name: yaml.Node, value: yaml.Node) -> bool:
    if name.value == "secret":
        return value.tag != NOTHING and not REFERENCE.fullmatch(str(value.value))
    return bool(name.value == "secret_file")


def _check(outcome: Outcome) -> None:
    if any(known.issued for known in outcome.keys):
        raise ManifestError([NO_NEW_KEYS])
