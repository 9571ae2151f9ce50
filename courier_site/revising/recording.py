"""Writes down each revision: the whole configuration after a change, and what the change was."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from accounts.models import ApiKey, Team
from courier_site import manifest
from courier_site.manifest.differences import Difference, differences
from courier_site.manifest.restoring import NAMED, Rows
from registry.models import RecordedRevision, Revision, UpstreamKey
from registry.revisions import Making

LONGEST_NOTE = 500


def record(making: Making) -> RecordedRevision | None:
    """Write down what the configuration is now, if it differs from the newest revision.

    Called at the end of the transaction that changed it. Whoever changes anything holds the row
    of `Revision` until then, so that nothing of others is in it.
    """
    mark = Revision.objects.select_for_update().filter(pk=1).first()
    if mark is None:
        return None
    before = RecordedRevision.objects.filter(number=mark.recorded).first()
    text, rows = manifest.export(), _rows()
    found = differences((before and before.manifest) or "", text)
    found += _secrets_changed(before.rows if before else {}, rows)
    made = None
    if found or before is None:
        made = _write(making, mark.recorded + 1, text, rows, found)
        mark.recorded = making.number = made.number
    mark.covers = mark.number
    mark.save(update_fields=["recorded", "covers"])
    return made


def _write(
    making: Making, number: int, text: str, rows: Rows, found: list[Difference]
) -> RecordedRevision:
    return RecordedRevision.objects.create(
        number=number,
        origin=making.origin,
        author=making.author[:255],
        note=making.note[:LONGEST_NOTE],
        changes=[each.words for each in found],
        objects_changed="\n".join(sorted({each.thing for each in found})),
        deflated=RecordedRevision.deflate(text),
        rows=rows,
    )


def catch_up() -> None:
    """Write down what was changed without saying by whom: from a shell, or by a program."""
    with transaction.atomic():
        mark = Revision.objects.select_for_update().filter(pk=1).first()
        if mark is None or mark.covers == mark.number:
            return
        if record(Making(RecordedRevision.Origin.COMMAND, _program())):
            # Processes may have loaded the change already, under the number before it.
            Revision.objects.filter(pk=1).update(number=mark.number + 1, covers=mark.number + 1)


def purge() -> None:
    """Empty what is older than the settings ask; the newest is what the next is compared with."""
    if not settings.COURIER_KEEP_REVISIONS_DAYS:
        return
    until = timezone.now() - timedelta(days=settings.COURIER_KEEP_REVISIONS_DAYS)
    newest = Revision.objects.filter(pk=1).values("recorded")
    old = RecordedRevision.objects.filter(made_at__lt=until).exclude(number__in=newest)
    old.exclude(deflated=None).update(deflated=None, rows={})


def _program() -> str:
    name, *arguments = sys.argv or [""]
    program = Path(name).name
    return " ".join([program, *arguments[:1]]) if program == "manage.py" else program


def _rows() -> Rows:
    return {
        kind: {_called(row): [row.pk, row.name, _mark_of_secret(row)] for row in _shown(model)}
        for kind, model in NAMED.items()
    }


def _shown(model: type[models.Model]) -> models.QuerySet[Any]:
    """Those that an export shows."""
    every = model._default_manager.all()
    if model is ApiKey:
        return every.filter(revoked_at=None).select_related("team")
    if model is UpstreamKey:
        return every.select_related("provider")
    return every.filter(archived_at=None) if model is Team else every


def _called(row: models.Model) -> str:
    match row:
        case ApiKey():
            return f"{row.name} of {row.team.name}"
        case UpstreamKey():
            return f"{row.name} of {row.provider.name}"
    return str(row)


def _mark_of_secret(row: models.Model) -> str:
    match row:
        case ApiKey():
            return row.public_id
        case UpstreamKey():
            return row.changed_at.isoformat()
    return ""


def _secrets_changed(before: Rows, after: Rows) -> list[Difference]:
    return [
        Difference(f"{kind} {called}", f"change {kind} {called}: secret changed")
        for kind, rows in after.items()
        for called, (_, _, mark) in rows.items()
        if mark != before.get(kind, {}).get(called, [None, None, mark])[2]
    ]
