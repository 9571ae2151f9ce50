"""Teams in the admin: their people, limits and budgets."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import TabularInline

from accounts.admin.limits import BudgetInline, LimitInline
from accounts.models import Membership, Team
from registry.admin.managed import ManagedAdmin, OriginFilter
from registry.admin.rows import UniqueRows


class MembershipFormSet(UniqueRows):
    unique = ("user",)
    complaint = "This person is in the list twice."


class MembershipInline(TabularInline):
    model = Membership
    formset = MembershipFormSet
    extra = 0
    fields = ("user", "role")
    autocomplete_fields = ("user",)
    hide_title = True
    verbose_name_plural = "members"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        queryset: QuerySet[Membership] = super().get_queryset(request)
        return queryset.select_related("team", "user")


@admin.register(Team)
class TeamAdmin(ManagedAdmin):
    list_display = ("name", "people", "keys_in_use", "created_at", "origin")
    list_filter = (OriginFilter,)
    list_filter_submit = True
    search_fields = ("name", "members__username")
    search_help_text = "Name or member"
    ordering = ("name",)
    inlines = (MembershipInline, LimitInline, BudgetInline)
    fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        queryset: QuerySet[Team] = super().get_queryset(request)
        in_use = Q(api_keys__revoked_at=None, api_keys__isnull=False)
        return queryset.annotate(
            member_count=Count("memberships", distinct=True),
            key_count=Count("api_keys", filter=in_use, distinct=True),
        )

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        # Nobody may delete keys. Say that they are in the way, not that a permission is missing.
        rows, counts, lacking, protected = super().get_deleted_objects(objs, request)
        return rows, counts, set() if protected else lacking, protected

    @admin.display(description="Members", ordering="member_count")
    def people(self, team: Any) -> int:
        count: int = team.member_count
        return count

    @admin.display(description="API keys", ordering="key_count")
    def keys_in_use(self, team: Any) -> str:
        url = reverse("admin:accounts_apikey_changelist")
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500" href="{}?team__id__exact={}">{}</a>',
            url,
            team.pk,
            team.key_count,
        )
