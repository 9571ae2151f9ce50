"""Alerts as plain text mail."""

from __future__ import annotations

from smtplib import SMTPException
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse

from usage.errors import Undelivered
from usage.models import Alert

LONGEST_SUBJECT = 150


def are_sent() -> bool:
    """Whether there is a mail server to send by."""
    return bool(settings.EMAIL_URL)


def send(alert: Alert, address: str, message_id: UUID) -> None:
    """Send one mail. Raises Undelivered."""
    mail = EmailMessage(
        subject=f"[Courier] {_one_line(alert.text)[:LONGEST_SUBJECT]}",
        body=_body(alert),
        to=[address],
        # The same in every try, so that mailboxes can tell repetitions.
        headers={"Message-ID": _message_id(message_id)},
    )
    try:
        mail.send()
    except (SMTPException, OSError) as error:
        raise Undelivered(
            f"The mail server refused or was away ({type(error).__name__})."
        ) from error


def _message_id(message_id: UUID) -> str:
    _, _, domain = settings.DEFAULT_FROM_EMAIL.rstrip(">").rpartition("@")
    return f"<{message_id.hex}@{domain or 'courier'}>"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _body(alert: Alert) -> str:
    lines = [alert.text, "", f"{alert.raised_at:%Y-%m-%d %H:%M} UTC"]
    if settings.COURIER_PUBLIC_URL:
        page = reverse("admin:usage_alert_change", args=(alert.pk,))
        lines.append(f"{settings.COURIER_PUBLIC_URL}{page}")
    return "\n".join(lines) + "\n"
