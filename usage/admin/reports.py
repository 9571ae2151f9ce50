"""Saved reports in the admin: defined, looked at, and made into files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action

from usage import as_of, definitions, reports
from usage.admin import spending
from usage.admin.charts import chart_of
from usage.admin.exports import LEVELS, progress_of
from usage.admin.report_forms import AsOfForm, ReportForm, in_words
from usage.as_of import NotSettled
from usage.models import AsOf, Export, ReportDefinition
from usage.money import exact_dollars
from usage.pieces import NoReport
from usage.report_questions import has_id
from usage.reports import Report

#: Lines of a preview. The file has all of them.
SHOWN_LINES = 500
PAST_RUNS = 10
LIST = "admin:usage_reportdefinition_changelist"

Method = TypeVar("Method", bound=Callable[..., HttpResponse])
button: Callable[[Method], Method] = action(
    description="Preview and run", icon="table_chart", permissions=("view",)
)


@admin.register(ReportDefinition)
class ReportDefinitionAdmin(ModelAdmin):
    form = ReportForm
    list_display = ("name", "what", "period", "schedule", "format", "last_run_at")
    list_filter = (("schedule", ChoicesDropdownFilter),)
    list_filter_submit = True
    search_fields = ("name",)
    actions_detail = ("look",)
    readonly_fields = ("left_in",)
    fieldsets = (
        (None, {"fields": ("name", ("first_dimension", "second_dimension"))}),
        ("Period", {"fields": ("period", ("first_day", "last_day"), "time_zone")}),
        (
            "Only",
            {
                "classes": ("tab",),
                "fields": (
                    "only_team", "only_user", "only_key", "only_model", "only_provider",
                    "only_tag",
                ),
            },
        ),
        ("Currency", {"classes": ("tab",), "fields": (("currency", "rate"),)}),
        ("File", {"classes": ("tab",), "fields": ("format", "schedule", "recipients")}),
    )  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        preview = self.admin_site.admin_view(self.preview)
        name = "usage_reportdefinition_preview"
        return [
            path("<int:pk>/preview/", preview, name=name),
            *spending.urls(self),
            *super().get_urls(),
        ]

    def get_fieldsets(self, request: HttpRequest, obj: ReportDefinition | None = None) -> Any:
        if obj is None or self.has_change_permission(request, obj):
            return self.fieldsets
        # What the form asks for beside the fields of the row is seen in the form alone.
        shown = {"Only": {"classes": ("tab",), "fields": ("left_in",)}}
        return [(title, shown.get(str(title), options)) for title, options in self.fieldsets]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            obj.created_by_id = request.user.pk
        super().save_model(request, obj, form, change)

    @admin.display(description="By")
    def what(self, definition: ReportDefinition) -> str:
        by = definition.get_first_dimension_display()
        if not definition.second_dimension:
            return str(by)
        return f"{by} and {definition.get_second_dimension_display().lower()}"

    @admin.display(description="Only")
    def left_in(self, definition: ReportDefinition) -> str:
        return in_words(definition.filters) or "everything"

    @button
    def look(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return HttpResponseRedirect(_page(object_id))

    def preview(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The report as a table; by POST, as a file that a worker makes."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        definition = get_object_or_404(ReportDefinition, pk=pk)
        form = AsOfForm(request.POST or request.GET)
        if request.method == "POST" and form.is_valid():
            return self._run(request, definition, form)
        context = {**self.admin_site.each_context(request), "title": definition.name}
        context |= self._shown(definition, form) | {
            "definition": definition,
            "left_in": in_words(definition.filters),
            "may_change": self.has_change_permission(request, definition),
            "form": form,
            "may_run": may_run(request),
            "runs": _past_runs(definition),
            "opts": self.opts,
        }
        return TemplateResponse(request, "usage/report.html", context)

    def _run(
        self, request: HttpRequest, definition: ReportDefinition, form: AsOfForm
    ) -> HttpResponse:
        if not may_run(request):
            raise PermissionDenied
        try:
            export = definitions.run(
                definition, form.cleaned_data["as_of"], requested_by_id=request.user.pk
            )
        except NotSettled as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(_page(definition.pk))
        return HttpResponseRedirect(reverse("admin:usage_export_change", args=(export.pk,)))

    def _shown(self, definition: ReportDefinition, form: AsOfForm) -> dict[str, Any]:
        """The report, or why there is none."""
        if not form.is_valid():
            return {}
        try:
            moment = _as_of(form.cleaned_data["as_of"])
            report = reports.report(definitions.question(definition), moment)
        except (NoReport, ValueError) as error:
            return {"trouble": str(error)}
        return {
            "report": report,
            "table": table_of(report),
            "left_out": max(len(report.lines) - SHOWN_LINES, 0),
            "chart": chart_of(report),
            "total": _total(report),
        }


def _total(report: Report) -> str:
    """Empty by tag: a request with two tags is in two lines, whose sum is no total."""
    by_tag = "tag" in report.question.dimensions
    return "" if by_tag else exact_dollars(report.totals["cost_nano"])


def may_run(request: HttpRequest) -> bool:
    return request.user.has_perm("usage.add_export")


def _as_of(asked: Any) -> AsOf:
    """For looking, nothing is kept; a moment that was asked for is settled."""
    return as_of.settle(asked) if asked else as_of.latest()


def _page(pk: int) -> str:
    return reverse("admin:usage_reportdefinition_preview", args=(pk,))


def _past_runs(definition: ReportDefinition) -> list[dict[str, Any]]:
    runs: QuerySet[Export] = definition.exports.select_related("requested_by")[:PAST_RUNS]
    return [
        {"export": run, "level": LEVELS[run.state], "progress": progress_of(run)} for run in runs
    ]


def table_of(report: Report) -> dict[str, Any]:
    """The lines as people read them."""
    words = dict(ReportDefinition.Dimension.choices)
    headers = [words[name] for name in report.question.dimensions]
    figures = ["Requests", "Errors", "Input tokens", "Output tokens", "Estimated"]
    rows = []
    for line in report.lines[:SHOWN_LINES]:
        sums = line.sums
        names = [
            name or ("nobody" if has_id(dimension) else "none")
            for dimension, name in zip(report.question.dimensions, line.names, strict=True)
        ]
        counts = (sums["requests"], sums["errors"], sums["input_tokens"], sums["output_tokens"])
        share = (
            f"{sums['estimated_cost_nano'] / sums['cost_nano']:.1%}" if sums["cost_nano"] else "-"
        )
        cells = [*(f"{count:,}" for count in counts), share, f"{report.money(line):,.9f}"]
        rows.append((names, cells))
    return {
        "names": headers,
        "figures": [*figures, f"Cost ({report.question.currency})"],
        "rows": rows,
    }
