"""Receipts of what retention removed, in the admin."""

from __future__ import annotations

from django.contrib import admin

from usage.admin.reading import ReadOnlyAdmin
from usage.models import PurgeReceipt


@admin.register(PurgeReceipt)
class PurgeReceiptAdmin(ReadOnlyAdmin):
    list_display = ("purged_at", "kind", "first_day", "last_day", "rows")
    list_filter = ("kind",)
