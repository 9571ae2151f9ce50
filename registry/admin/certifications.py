"""Certifications in the admin: how far a run is, and what it found out, beside what was before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from lib.money import NANO_PER_DOLLAR
from registry import certified
from registry.admin.labels import label
from registry.conditions import Level
from registry.models import Certification, CertifiedTrait
from registry.traits import TRAITS

Verdict = CertifiedTrait.Verdict
LEVELS: dict[str, Level] = {
    Verdict.PASSED: "success",
    Verdict.FAILED: "danger",
    Verdict.SKIPPED: "plain",
}
#: Seconds after which the page of a run under way is loaded again.
REFRESH_S = 3


@dataclass(frozen=True, slots=True)
class Cell:
    """One trait on the page."""

    name: str
    #: None: it has not been looked at yet.
    now: CertifiedTrait | None
    level: Level
    #: The newest verdict of an earlier run.
    before: CertifiedTrait | None
    before_level: Level

    @property
    def is_worse(self) -> bool:
        had_it = self.before is not None and self.before.verdict == Verdict.PASSED
        return had_it and self.now is not None and self.now.verdict == Verdict.FAILED


@admin.register(Certification)
class CertificationAdmin(ModelAdmin):
    list_display = ("started_at", "provider", "upstream_model", "result", "cost", "by")
    list_filter = (
        ("provider", AutocompleteSelectFilter),
        ("task", ChoicesDropdownFilter),
    )
    list_filter_submit = True
    list_select_related = ("provider",)
    list_before_template = "registry/certifications_begin.html"
    search_fields = ("provider__name", "upstream_model")
    search_help_text = "Provider or upstream model"
    actions: ClassVar[tuple[str, ...] | None] = None
    fieldsets = (
        (None, {"fields": (
            ("provider", "upstream_model"),
            ("result", "task"),
            ("by", "started_at"),
            ("used", "cost"),
        )}),
        ("What was found out", {"fields": ("matrix",)}),
    )  # fmt: skip
    readonly_fields = ("by", "result", "used", "cost", "matrix")

    class Media:
        css: ClassVar[dict[str, tuple[str, ...]]] = {"all": ("courier/overview.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Certification | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Certification | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Certification]:
        queryset: QuerySet[Certification] = super().get_queryset(request)
        counts = {
            f"number_{verdict}": Count("traits", filter=Q(traits__verdict=verdict))
            for verdict in Verdict.values
        }
        return queryset.select_related("provider").annotate(**counts)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponseBase:
        page: HttpResponseBase = super().change_view(request, object_id, form_url, extra_context)
        run = self.get_object(request, object_id)
        if run is not None and run.finished_at is None:
            page.headers["Refresh"] = str(REFRESH_S)
        return page

    @admin.display(description="Asked by", ordering="asked_by")
    def by(self, run: Certification) -> str:
        return run.asked_by or "the nightly run"

    @admin.display(description="Result")
    def result(self, run: Any) -> str:
        if run.finished_at is None:
            done = sum(getattr(run, f"number_{verdict}") for verdict in Verdict.values)
            if run.heard_at is None:
                return label("waiting", "plain", hint="A worker takes it up within seconds.")
            return label(f"{done} of {len(certified.traits_of(run.task))}", "info")
        if not run.number_passed and not run.number_failed:
            return label("nothing was tried", "warning")
        text = f"{run.number_passed} passed"
        if run.number_failed:
            text += f", {run.number_failed} failed"
        if run.number_skipped:
            text += f", {run.number_skipped} not tried"
        return label(text, "danger" if run.number_failed else "success")

    @admin.display(description="Tokens")
    def used(self, run: Certification) -> str:
        return f"{run.input_tokens:,} input, {run.output_tokens:,} output"

    @admin.display(description="Cost", ordering="cost_nano")
    def cost(self, run: Certification) -> str:
        return "unknown" if run.cost_nano is None else f"${run.cost_nano / NANO_PER_DOLLAR:,.4f}"

    @admin.display(description="Traits")
    def matrix(self, run: Certification) -> str:
        return render_to_string("registry/certification.html", {"cells": cells_of(run)})


def cells_of(run: Certification) -> list[Cell]:
    """Every trait of the run's task, with what earlier runs had found."""
    now = {each.trait: each for each in run.traits.all()}
    before = _before(run)
    return [
        Cell(TRAITS[name], now.get(name), _level(now.get(name)), before.get(name),
             _level(before.get(name)))
        for name in certified.traits_of(run.task)
    ]  # fmt: skip


def _before(run: Certification) -> dict[str, CertifiedTrait]:
    """The newest verdict of each trait before this run; what was not tried says nothing."""
    earlier = CertifiedTrait.objects.exclude(verdict=Verdict.SKIPPED).filter(
        certification__provider=run.provider,
        certification__upstream_model=run.upstream_model,
        certification__finished_at__isnull=False,
        certification__started_at__lt=run.started_at,
    )
    in_order = earlier.select_related("certification").order_by("certification__started_at", "pk")
    return {each.trait: each for each in in_order}


def _level(trait: CertifiedTrait | None) -> Level:
    return LEVELS[trait.verdict] if trait else "plain"
