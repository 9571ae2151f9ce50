"""Re-seals every upstream key with the first encryption key of the ring."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from lib import encryption
from registry.conditions import opens
from registry.models import UpstreamKey


class Command(BaseCommand):
    help = (
        "Re-seal every upstream key with the first key of COURIER_ENCRYPTION_KEYS. "
        "Afterwards the others can be taken away."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        sealed, lost = reseal()
        self.stdout.write(f"{_counted(sealed)} sealed with the first encryption key.")
        if lost:
            names = ", ".join(str(key) for key in lost)
            raise CommandError(f"{_counted(len(lost))} not opened and left as before: {names}.")


@transaction.atomic
def reseal() -> tuple[int, list[UpstreamKey]]:
    """Seal all secrets anew. Returns how many were, and the keys that no key opens."""
    keys = list(UpstreamKey.objects.select_related("provider").select_for_update(of=("self",)))
    lost = [key for key in keys if not opens(key)]
    for key in keys:
        if key not in lost:
            key.sealed_secret = encryption.encrypt(key.secret)
            key.save(update_fields=["sealed_secret"])
    return len(keys) - len(lost), lost


def _counted(number: int) -> str:
    return "1 upstream key was" if number == 1 else f"{number} upstream keys were"
