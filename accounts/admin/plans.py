"""Plans in the admin: named sets of limits and budgets, and which keys have them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from accounts.admin.budgets import BudgetInline
from accounts.admin.limits import LimitInline, WarnsOfModels
from accounts.models import Plan
from registry.admin.managed import ManagedAdmin, OriginFilter

LINK = '<a class="text-primary-600 dark:text-primary-500" href="{}?{}={}">{}</a>'


class Protected(ManagedAdmin):
    """The admin of rows that API keys refer to. Before a deletion it names the keys in the way."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        # Nobody may delete keys. Say that they are in the way, not that a permission is missing.
        rows, counts, lacking, protected = super().get_deleted_objects(objs, request)
        return rows, counts, set() if protected else lacking, protected


def keys_link(field: str, pk: int, text: object) -> str:
    """A link to the keys with this team or plan."""
    url = reverse("admin:accounts_apikey_changelist")
    return format_html(LINK, url, f"{field}__id__exact", pk, text)


@admin.register(Plan)
class PlanAdmin(WarnsOfModels, Protected):
    list_display = ("name", "description", "limits", "allowances", "keys_with_it", "origin")
    list_filter = (OriginFilter,)
    list_filter_submit = True
    search_fields = ("name", "description")
    search_help_text = "Name or description"
    ordering = ("name",)
    inlines = (LimitInline, BudgetInline)
    fields = ("name", "description")
    readonly_fields = ("keys_with_it",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        queryset: QuerySet[Plan] = super().get_queryset(request)
        counted = queryset.annotate(key_count=Count("api_keys", distinct=True))
        return counted.prefetch_related("ratelimits", "budgets")

    def get_fields(self, request: HttpRequest, obj: Plan | None = None) -> Any:
        return (*self.fields, "keys_with_it") if obj else self.fields

    @admin.display(description="Limits")
    def limits(self, plan: Plan) -> str:
        return _lines(plan.ratelimits.all())

    @admin.display(description="Budgets")
    def allowances(self, plan: Plan) -> str:
        return _lines(plan.budgets.all())

    @admin.display(description="API keys", ordering="key_count")
    def keys_with_it(self, plan: Any) -> str:
        return keys_link("plan", plan.pk, plan.key_count)


def _lines(rows: Any) -> str:
    return format_html_join("", "<div>{}</div>", [(row,) for row in rows]) or "none"
