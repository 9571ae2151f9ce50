"""Mail that says that a scheduled report is there. It holds a link, and none of the figures."""

from __future__ import annotations

import logging
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from usage.models import Export

logger = logging.getLogger(__name__)


def announce_all() -> None:
    """Tell of the reports whose worker died before it could."""
    for pk in _untold().values_list("pk", flat=True):
        announce(pk)


def announce(export_id: int) -> None:
    """Tell the recipients of a report that it was made, or could not be. Not twice."""
    if not _untold().filter(pk=export_id).update(told_at=timezone.now()):
        return
    export = Export.objects.select_related("definition").get(pk=export_id)
    definition = export.definition
    if definition is None or not definition.recipients:
        return
    made = export.state == Export.State.DONE
    subject = f"[Courier] Report “{definition}” {'is there' if made else 'could not be made'}"
    try:
        send_mail(subject, body(export), None, definition.recipients)
    except (SMTPException, OSError) as error:
        logger.warning("mail about export %s was not sent: %s", export.pk, type(error).__name__)


def body(export: Export) -> str:
    """The days, the moment, and where to find it."""
    days = f"{export.question['first_day']} to {export.question['last_day']}"
    lines = [f"{export.definition}: {days}, as of {export.as_of:%Y-%m-%d %H:%M:%S} UTC."]
    if export.trouble:
        lines.append(export.trouble)
    page = reverse("admin:usage_export_change", args=(export.pk,))
    lines += ["", f"{settings.COURIER_PUBLIC_URL}{page}"]
    return "\n".join(lines) + "\n"


def _untold() -> QuerySet[Export]:
    """Of scheduled reports; who asks for one sees it in the admin."""
    ended = (Export.State.DONE, Export.State.FAILED)
    return Export.objects.filter(state__in=ended, is_scheduled=True, told_at=None)
