"""Served models in the admin, called "models" there: with their routes, prices and aliases."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.forms import PaginationInlineFormSet

from registry import certified, conditions, windows
from registry.admin.autocomplete import Autocompletes
from registry.admin.capability_forms import OF_MODELS, ROWS, Rows
from registry.admin.labels import label
from registry.admin.managed import OriginFilter
from registry.admin.model_forms import ServedModelForm
from registry.admin.price_forms import PriceRowForm, other_figures
from registry.admin.routes import certification_state
from registry.admin.rows import UniqueRows
from registry.admin.switching import SwitchingAdmin
from registry.models import Alias, Intervention, Price, Route, ServedModel

PRICE_LEVELS: dict[str, conditions.Level] = {
    "priced": "success",
    "free": "success",
    "unknown": "warning",
}
NO_ROUTE = "“{}” has no route that can be used yet: requests for it are answered with an error."
NO_PRICE = "“{}” has no price: what it costs is not known, which is not the same as free."


class RouteFormSet(UniqueRows):
    unique = ("provider", "upstream_model")
    complaint = "Two routes lead to the same upstream model of the same provider."


class RouteInline(Autocompletes, TabularInline):
    model = Route
    formset = RouteFormSet
    fields = ("provider", "upstream_model", "priority", "weight", "enabled", "more")
    readonly_fields = ("more",)
    autocomplete_fields = ("provider",)
    hide_title = True

    @admin.display(description="Abilities")
    def more(self, route: Route) -> str:
        if not route.pk:
            return "once it is saved"
        page = reverse("admin:registry_route_change", args=(route.pk,))
        told = route.capabilities.told() or route.requires_certified
        words = "its own" if told else "as the model"
        link = format_html('<a class="underline" href="{}">{}</a>', page, words)
        state = certification_state(route) if route.requires_certified else ""
        return format_html("{} {}", link, state)

    def get_extra(self, request: HttpRequest, obj: ServedModel | None = None, **_: Any) -> int:
        return 0 if obj else 1

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        queryset: QuerySet[Route] = super().get_queryset(request)
        return queryset.select_related("provider", "model").order_by("priority", "pk")


class PriceFormSet(UniqueRows):
    unique = ("route", "starts_at")
    complaint = "Two prices begin at the same moment."


class PriceInline(TabularInline):
    """The main figures of each price. All of them are on the price's own page."""

    model = Price
    form = PriceRowForm
    formset = PriceFormSet
    extra = 0
    hide_title = True
    tab = True
    readonly_fields = ("more",)

    @admin.display(description="Others")
    def more(self, price: Price) -> str:
        if not price.pk:
            return "once it is saved"
        page = reverse("admin:registry_price_change", args=(price.pk,))
        return format_html(
            '<a class="underline" href="{}">{}</a>', page, other_figures(price) or "none"
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Price]:
        queryset: QuerySet[Price] = super().get_queryset(request)
        rows = queryset.filter(withdrawn_at=None).select_related("model", "route")
        return rows.order_by("-starts_at", "pk")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "route":
            page = request.resolver_match
            routes = Route.objects.filter(model=page.kwargs.get("object_id") if page else None)
            kwargs["queryset"] = routes.select_related("model", "provider")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class AliasFormSet(PaginationInlineFormSet):
    def clean(self) -> None:
        super().clean()
        for form in self.forms:
            values = getattr(form, "cleaned_data", {})
            if values.get("name") == self.instance.name and not values.get("DELETE"):
                form.add_error("name", "This is the name of the model itself.")

    def get_unique_error_message(self, unique_check: Any) -> str:
        return "Two aliases are the same."


class AliasInline(TabularInline):
    model = Alias
    formset = AliasFormSet
    extra = 0
    hide_title = True
    tab = True


@admin.register(ServedModel)
class ServedModelAdmin(SwitchingAdmin):
    taken_along = (Route, Price, Intervention)
    list_display = ("name", "routes_in_order", "price", "enabled", "origin")
    list_filter = ("enabled", ("routes__provider", AutocompleteSelectFilter), OriginFilter)
    list_filter_submit = True
    search_fields = ("name", "description", "aliases__name", "routes__upstream_model")
    search_help_text = "Name, alias, description or upstream model"
    inlines = (RouteInline, PriceInline, AliasInline)
    actions: ClassVar[list[str]] = [*SwitchingAdmin.actions, "take_prices"]
    form = ServedModelForm
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "name",
                    "description",
                    "enabled",
                    ("strategy", "stickiness"),
                    "max_attempts",
                    ("context_fallbacks", "content_fallbacks"),
                )
            },
        ),
        (
            "What it can do",
            {
                "classes": ("collapse",),
                "description": OF_MODELS,
                "fields": Rows((*ROWS, "on_unsupported")),
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServedModel]:
        queryset: QuerySet[ServedModel] = super().get_queryset(request)
        routes = Route.objects.select_related("provider").order_by("priority", "pk")
        return queryset.prefetch_related(Prefetch("routes", routes), "prices")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if not change:
            for sentence in windows.fill_in(form.instance):
                self.message_user(request, sentence)
        model = conditions.models().get(pk=form.instance.pk)
        if not conditions.has_usable_route(model):
            self.message_user(request, NO_ROUTE.format(model), messages.WARNING)
        if conditions.price_state(model, timezone.now()) == "unknown":
            self.message_user(request, NO_PRICE.format(model), messages.WARNING)

    @admin.action(description="Take prices from the list", permissions=["price"])
    def take_prices(self, request: HttpRequest, rows: QuerySet[ServedModel]) -> HttpResponse:
        chosen = ",".join(str(pk) for pk in rows.values_list("pk", flat=True))
        return HttpResponseRedirect(f"{reverse('admin:registry_price_list')}?models={chosen}")

    def has_price_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("registry.add_price"))

    @admin.display(description="Routes, in order")
    def routes_in_order(self, model: ServedModel) -> str:
        lines = [(_written(route),) for route in model.routes.all()]
        return format_html_join("", "<div>{}</div>", lines) or label("no route", "warning")

    @admin.display(description="Price")
    def price(self, model: ServedModel) -> str:
        state = conditions.price_state(model, timezone.now())
        return label(state, PRICE_LEVELS[state])


def _written(route: Route) -> str:
    text = f"{route.provider.name} / {route.upstream_model}"
    if not (route.enabled and route.provider.enabled):
        return f"{text} (off)"
    return f"{text} (not certified)" if certified.missing([route]) else text
