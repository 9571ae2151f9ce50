"""Enable and disable many rows at once."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from registry.admin.managed import ManagedAdmin


class SwitchingAdmin(ManagedAdmin):
    """The admin of a `Managed` model with a field `enabled`."""

    actions: ClassVar[list[str]] = [*ManagedAdmin.actions, "enable", "disable"]

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._switch(request, rows.filter(enabled=False), "on")

    @admin.action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._switch(request, rows.filter(enabled=True), "off")

    def _switch(self, request: HttpRequest, rows: QuerySet[Any], to: str) -> None:
        own = list(rows.filter(managed_by=""))
        for row in own:
            row.enabled = to == "on"
            row.save(update_fields=["enabled", "updated_at"])
            self.log_change(request, row, f"Switched {to}.")
        self.message_user(request, f"{len(own)} switched {to}.", messages.SUCCESS)
        if left := rows.exclude(managed_by="").count():
            text = f"{left} left as they were: they come from a manifest and are changed there."
            self.message_user(request, text, messages.WARNING)
