"""Records that the database refused, in the admin."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from usage.admin.reading import ReadOnlyAdmin
from usage.models import QuarantinedRecord

SHOWN_CHARACTERS = 4000


@admin.register(QuarantinedRecord)
class QuarantinedRecordAdmin(ReadOnlyAdmin):
    """They can be deleted: that is how a person says that one was dealt with."""

    list_display = ("created_at", "reason")
    actions: ClassVar[tuple[str, ...]] = ("delete_selected",)
    fields = ("created_at", "reason", "content")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return bool(ModelAdmin.has_delete_permission(self, request, obj))

    @admin.display(description="As it was spooled")
    def content(self, record: QuarantinedRecord) -> str:
        return bytes(record.raw).decode("utf-8", "backslashreplace")[:SHOWN_CHARACTERS]
