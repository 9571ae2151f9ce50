"""One route in the admin: what it can do otherwise than its model, and what it must prove.

Routes are made and ordered on their model's page, which leads here.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from registry import certified
from registry.admin.capability_forms import OF_ROUTES, ROWS, RouteForm
from registry.admin.interventions import INTERVENTIONS, Intervening
from registry.admin.labels import label
from registry.models import Route
from registry.traits import TRAITS


@admin.register(Route)
class RouteAdmin(Intervening, ModelAdmin):
    actions: ClassVar[list[str]] = INTERVENTIONS
    form = RouteForm
    list_display = ("model", "provider", "upstream_model", "priority", "weight", "enabled")
    list_select_related = ("model", "provider")
    search_fields = ("model__name", "provider__name", "upstream_model")
    search_help_text = "Model, provider or upstream model"
    readonly_fields = ("model_link", "leads_to", "state", "demands")
    fieldsets = (
        (None, {"fields": (
            ("model_link", "leads_to"),
            ("priority", "weight"),
            ("enabled", "state"),
        )}),
        ("What it can do", {"description": OF_ROUTES, "fields": ROWS}),
        ("Certification", {"fields": ("requires_certified",)}),
    )  # fmt: skip

    def get_fieldsets(self, request: HttpRequest, obj: Route | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if self.has_change_permission(request, obj):
            return fieldsets
        return (*fieldsets[:-1], ("Certification", {"fields": ("demands",)}))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        queryset: QuerySet[Route] = super().get_queryset(request)
        return queryset.select_related("model", "provider")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Route | None = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and not (obj and obj.model.managed_by)

    def has_delete_permission(self, request: HttpRequest, obj: Route | None = None) -> bool:
        return False

    def response_post_save_change(self, request: HttpRequest, obj: Route) -> HttpResponse:
        page = reverse("admin:registry_servedmodel_change", args=(obj.model_id,))
        return HttpResponseRedirect(page)

    @admin.display(description="Model", ordering="model")
    def model_link(self, route: Route) -> SafeString:
        page = reverse("admin:registry_servedmodel_change", args=(route.model_id,))
        return format_html('<a class="underline" href="{}">{}</a>', page, route.model.name)

    @admin.display(description="Provider and upstream model")
    def leads_to(self, route: Route) -> SafeString:
        page = reverse("admin:registry_provider_change", args=(route.provider_id,))
        link = format_html('<a class="underline" href="{}">{}</a>', page, route.provider.name)
        return format_html("{} / {}", link, route.upstream_model)

    @admin.display(description="Only if certified for")
    def demands(self, route: Route) -> str:
        return ", ".join(TRAITS.get(name, name) for name in route.requires_certified) or "nothing"

    @admin.display(description="State")
    def state(self, route: Route) -> str:
        if not route.enabled or not route.provider.enabled:
            return label("off", hint="It, or its provider, is switched off.")
        return certification_state(route)


def certification_state(route: Route) -> str:
    """Whether the route is held back for lack of a certification, and which."""
    lacking = certified.missing([route]).get(route.pk, [])
    if not lacking:
        return label("in use", "success")
    names = ", ".join(TRAITS[name] for name in lacking if name in TRAITS)
    hint = f"It is not certified for: {names}. Certify it, or demand less."
    return format_html("{} {}", label("not used", "danger"), hint)
