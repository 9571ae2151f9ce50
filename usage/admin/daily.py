"""The sums per day in the admin, with the totals of what the filters leave."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet, Sum
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from usage.admin.reading import DayFilter, ModelFilter, ReadOnlyAdmin
from usage.models import DailyUsage
from usage.money import dollars

SUMMED = ("requests", "errors", "unpriced", "input_tokens", "output_tokens", "cost_nano")


class SumDayFilter(DayFilter):
    def queryset(
        self, request: HttpRequest, queryset: QuerySet[DailyUsage]
    ) -> QuerySet[DailyUsage]:
        first, last = self.day("from"), self.day("to")
        if first:
            queryset = queryset.filter(day__gte=first)
        return queryset.filter(day__lte=last) if last else queryset


@admin.register(DailyUsage)
class DailyUsageAdmin(ReadOnlyAdmin):
    list_display = (
        "day",
        "team_name",
        "key_name",
        "model",
        "provider_name",
        "number",
        "failures",
        "input",
        "output",
        "cost",
    )
    list_display_links = None
    sortable_by = ("day", "number", "failures", "input", "output", "cost")
    list_filter = (
        ("day", SumDayFilter),
        ("team", AutocompleteSelectFilter),
        ("key", AutocompleteSelectFilter),
        ModelFilter,
    )
    list_before_template = "usage/daily_totals.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        page = super().changelist_view(request, extra_context)
        changelist = getattr(page, "context_data", {}).get("cl")
        if changelist is not None:
            page.context_data["totals"] = totals(changelist.queryset)
        return page  # type: ignore[no-any-return]

    @admin.display(description="Requests", ordering="requests")
    def number(self, sums: DailyUsage) -> str:
        return f"{sums.requests:,}"

    @admin.display(description="Errors", ordering="errors")
    def failures(self, sums: DailyUsage) -> str:
        return f"{sums.errors:,}"

    @admin.display(description="Input tokens", ordering="input_tokens")
    def input(self, sums: DailyUsage) -> str:
        return f"{sums.input_tokens:,}"

    @admin.display(description="Output tokens", ordering="output_tokens")
    def output(self, sums: DailyUsage) -> str:
        return f"{sums.output_tokens:,}"

    @admin.display(description="Cost", ordering="cost_nano")
    def cost(self, sums: DailyUsage) -> str:
        return cost_of(sums.cost_nano, sums.requests, sums.unpriced)


def totals(days: QuerySet[DailyUsage]) -> list[tuple[str, str, str]]:
    """The sums over all these days: title, figure, and what it leaves out."""
    sums = days.order_by().aggregate(**{f"all_{name}": Sum(name) for name in SUMMED})
    total = {name: sums[f"all_{name}"] or 0 for name in SUMMED}
    return [
        ("Requests", f"{total['requests']:,}", ""),
        ("Errors", f"{total['errors']:,}", ""),
        ("Input tokens", f"{total['input_tokens']:,}", ""),
        ("Output tokens", f"{total['output_tokens']:,}", ""),
        ("Cost", dollars(total["cost_nano"]), without(total["unpriced"])),
    ]


def without(unpriced: int) -> str:
    return f"without {unpriced:,} of unknown cost" if unpriced else ""


def cost_of(cost_nano: int, requests: int, unpriced: int) -> str:
    """A sum that does not hide what it leaves out."""
    if not unpriced:
        return dollars(cost_nano)
    if unpriced == requests:
        return "unknown"
    return f"{dollars(cost_nano)} and {unpriced:,} unknown"
