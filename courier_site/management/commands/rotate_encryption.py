"""Re-seals every secret in the database with the first encryption key of the ring."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import models, transaction

from lib.encryption import CannotDecrypt
from registry.models import UpstreamKey
from usage.models import Webhook


class Command(BaseCommand):
    help = (
        "Re-seal every upstream key and webhook secret with the first key of "
        "COURIER_ENCRYPTION_KEYS. Afterwards the others can be taken away."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        keys, lost_keys = reseal(UpstreamKey.objects.select_related("provider"))
        webhooks, lost_webhooks = reseal(Webhook.objects.all())
        self.stdout.write(
            f"{_counted(keys, 'upstream key')} and {_counted(webhooks, 'webhook')} "
            "sealed with the first encryption key."
        )
        if lost := lost_keys + lost_webhooks:
            names = ", ".join(lost)
            raise CommandError(f"{len(lost)} not opened and left as before: {names}.")


@transaction.atomic
def reseal(rows: models.QuerySet[Any]) -> tuple[int, list[str]]:
    """Seal all secrets anew. Returns how many were, and the names of those that no key opens."""
    lost = []
    sealed = 0
    for row in rows.select_for_update(of=("self",)):
        try:
            row.reseal()
        except CannotDecrypt:
            lost.append(str(row))
        else:
            sealed += 1
    return sealed, lost


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
