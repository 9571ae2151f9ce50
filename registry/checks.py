"""System checks of the registry that need the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import DatabaseError

from registry.conditions import opens
from registry.models import UpstreamKey


@register(Tags.database)
def every_upstream_key_opens(
    databases: Sequence[str] | None = None, **_: Any
) -> list[CheckMessage]:
    """One warning for each upstream key that none of the configured encryption keys opens.

    No error: that would keep `migrate` from running, and Courier runs on without the key.
    """
    if not databases:
        return []
    try:
        keys = list(UpstreamKey.objects.select_related("provider"))
    except DatabaseError:
        return []  # before the first migration there is no table
    return [
        Warning(
            f"The upstream key {key} cannot be opened.",
            hint="Add the encryption key that sealed it to COURIER_ENCRYPTION_KEYS, or enter "
            "the upstream key again in the admin.",
            id="registry.W001",
        )
        for key in keys
        if not opens(key)
    ]
