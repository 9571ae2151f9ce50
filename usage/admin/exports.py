"""Who downloaded what, in the admin."""

from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from registry.admin.labels import label
from registry.conditions import Level
from usage.admin.reading import ReadOnlyAdmin
from usage.models import Export

LEVELS: dict[str, Level] = {"running": "info", "done": "success", "failed": "danger"}


@admin.register(Export)
class ExportAdmin(ReadOnlyAdmin):
    list_display = ("started_at", "requested_by", "what", "number", "how_it_ended", "ended_at")
    list_display_links = None
    list_filter = (
        ("requested_by", AutocompleteSelectFilter),
        ("state", ChoicesDropdownFilter),
    )
    list_select_related = ("requested_by",)

    @admin.display(description="Filters")
    def what(self, export: Export) -> str:
        told = [f"{name} = {value}" for name, value in sorted(export.filters.items())]
        return ", ".join(told) or "all requests"

    @admin.display(description="Rows", ordering="rows")
    def number(self, export: Export) -> str:
        return f"{export.rows:,}"

    @admin.display(description="State", ordering="state")
    def how_it_ended(self, export: Export) -> str:
        return label(str(export.get_state_display()), LEVELS[export.state])
