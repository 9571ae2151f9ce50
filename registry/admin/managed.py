"""Rows that a manifest made: people see them read-only, or take them over."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from registry.admin.autocomplete import Autocompletes
from registry.admin.labels import label
from registry.models import Managed


class OriginFilter(admin.SimpleListFilter):
    """Made in the admin, or by a manifest."""

    title = "origin"
    parameter_name = "origin"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("admin", "Made in the admin"), ("manifest", "From a manifest")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "admin":
                return queryset.filter(managed_by="")
            case "manifest":
                return queryset.exclude(managed_by="")
        return queryset


class ManagedAdmin(Autocompletes, ModelAdmin):
    """The admin of a `Managed` model.

    A row with `managed_by` can be looked at, and taken over; changes to it belong into its
    manifest, which would undo them.
    """

    change_form_outer_before_template = "admin/managed_notice.html"
    actions: ClassVar[list[str]] = ["take_over"]
    #: What has no deletion on a page of its own, and goes with a row of this.
    taken_along: ClassVar[tuple[type[Model], ...]] = ()

    def has_change_permission(self, request: HttpRequest, obj: Managed | None = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and not (obj and obj.managed_by)

    def has_delete_permission(self, request: HttpRequest, obj: Managed | None = None) -> bool:
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and not (obj and obj.managed_by)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        rows, counts, lacking, protected = super().get_deleted_objects(objs, request)
        allowed = {
            each._meta.verbose_name
            for each in self.taken_along
            if request.user.has_perm(f"{each._meta.app_label}.delete_{each._meta.model_name}")
        }
        return rows, counts, lacking - allowed, protected

    @admin.display(description="Origin", ordering="managed_by")
    def origin(self, row: Managed) -> str:
        return label("Manifest", "info", hint=row.managed_by) if row.managed_by else "Admin"

    @admin.action(description="Take over from the manifest", permissions=["change"])
    def take_over(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        taken = list(rows.exclude(managed_by=""))
        for row in taken:
            row.managed_by = ""
            row.save(update_fields=["managed_by", "updated_at"])
            self.log_change(request, row, "Taken over from its manifest.")
        self.message_user(request, _taken_over(len(taken)), messages.SUCCESS)


def _taken_over(count: int) -> str:
    rows = "1 row is" if count == 1 else f"{count} rows are"
    return f"{rows} now changed here. Take them out of the manifest, or it will claim them again."
