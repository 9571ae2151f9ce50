"""Requests that were refused before they were admitted, as far as they were written down."""

from __future__ import annotations

import orjson
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.paginator import InfinitePaginator

from lib.ids import made_at
from registry.admin.labels import label
from usage.admin.reading import ReadOnlyAdmin
from usage.models import Decision


@admin.register(Decision)
class DecisionAdmin(ReadOnlyAdmin):
    list_display = (
        "received", "key_name", "team_name", "model_asked", "operation", "refused_with", "left_out",
    )  # fmt: skip
    list_filter = (("key", AutocompleteSelectFilter), ("team", AutocompleteSelectFilter))
    sortable_by = ()
    paginator = InfinitePaginator
    list_per_page = 50
    ordering = ("-request_id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Decision]:
        refused: QuerySet[Decision] = super().get_queryset(request).exclude(refusal="")
        return refused

    def change_view(self, request: HttpRequest, object_id: str, *_: object) -> HttpResponse:
        decision = self.get_object(request, object_id)
        if not self.has_view_permission(request, decision):
            raise PermissionDenied
        if decision is None:
            raise Http404("There is no refused request with this id.")
        return HttpResponseRedirect(reverse("gateway-why", args=(decision.pk,)))

    @admin.display(description="Received (UTC)")
    def received(self, decision: Decision) -> str:
        return f"{made_at(decision.pk):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="Refused with")
    def refused_with(self, decision: Decision) -> str:
        return label(decision.refusal.replace("_", " "), "danger", hint=str(decision.status))

    @admin.display(description="Not written down before it")
    def left_out(self, decision: Decision) -> str:
        """How many that the same key was refused with the same code have no row."""
        unrecorded = orjson.loads(decision.told).get("unrecorded", 0)
        return f"{unrecorded:,}" if unrecorded else ""
