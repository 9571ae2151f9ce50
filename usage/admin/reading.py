"""What the pages about usage share: nobody changes anything there."""

from __future__ import annotations

import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import DropdownFilter, RangeDateFilter
from unfold.utils import parse_date_str

from registry.models import ServedModel


class ReadOnlyAdmin(ModelAdmin):
    """A log: people read it."""

    actions: ClassVar[tuple[str, ...] | None] = None
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    list_filter_submit = True
    list_fullwidth = True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ModelFilter(DropdownFilter):
    """The models there are now. The log itself is not searched for those that there were."""

    title = "model"
    parameter_name = "model"
    column = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = ServedModel.objects.order_by("name").values_list("name", flat=True)
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset.filter(**{self.column: chosen}) if chosen else queryset


class DayFilter(RangeDateFilter):
    """From one day to another, both included, in UTC."""

    def day(self, end: str) -> datetime.date | None:
        told = self.used_parameters.get(f"{self.parameter_name}_{end}", "")
        day: datetime.date | None = parse_date_str(told)
        return day
