"""Prices in the admin: the list over all models, and what the shipped list would change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter, RangeDateTimeFilter
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from registry import catalog, price_list
from registry.admin.autocomplete import LONGEST_KEY, Autocompletes
from registry.admin.labels import label
from registry.admin.price_forms import PriceForm, dollars, other_figures, target_of
from registry.models import Price, Route
from registry.price_list import Proposal


class InForceFilter(admin.SimpleListFilter):
    """Whether a price holds now, will, or did."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("now", "In force"),
            ("later", "To come"),
            ("past", "Replaced"),
            ("withdrawn", "Withdrawn"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Price]) -> QuerySet[Price]:
        now = timezone.now()
        standing = queryset.filter(withdrawn_at=None)
        match self.value():
            case "now":
                return standing.filter(~successor(now), starts_at__lte=now)
            case "later":
                return standing.filter(starts_at__gt=now)
            case "past":
                return standing.filter(successor(now))
            case "withdrawn":
                return queryset.exclude(withdrawn_at=None)
        return queryset


def successor(now: datetime) -> Exists:
    """Whether a later price of the same model and route has begun."""
    nothing = Value(0)
    later = Price.objects.standing().annotate(place=Coalesce("route_id", nothing))
    return Exists(
        later.filter(
            model=OuterRef("model"),
            place=Coalesce(OuterRef("route_id"), nothing),
            starts_at__gt=OuterRef("starts_at"),
            starts_at__lte=now,
        )
    )


class StartForm(forms.Form):
    """From when on the prices of the list are to hold."""

    day = forms.DateField(
        label="From",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
        help_text="In UTC. Empty: from now on.",
    )


@admin.register(Price)
class PriceAdmin(Autocompletes, ModelAdmin):
    form = PriceForm
    change_form_outer_before_template = "registry/price_notice.html"
    list_display = ("model", "of", "starts_at", "state", *("per_input", "per_cached"),
                    *("per_output", "others", "source"))  # fmt: skip
    list_filter = (
        InForceFilter,
        "free",
        ("model", AutocompleteSelectFilter),
        ("starts_at", RangeDateTimeFilter),
    )
    list_filter_submit = True
    list_select_related = ("model", "route__model", "route__provider")
    search_fields = ("model__name",)
    search_help_text = "Model"
    autocomplete_fields = ("model",)
    date_hierarchy = "starts_at"
    actions_list: ClassVar[list[str]] = ["take_from_list"]
    fieldsets = (
        (None, {"fields": (("model", "route"), "starts_at", "free")}),
        ("Input, per million tokens", {"fields": (
            ("input", "cached_input"),
            ("cache_write", "cache_write_1h"),
            "audio_input",
        )}),
        ("Output, per million tokens", {"fields": (("output", "reasoning"), "audio_output")}),
        ("For each", {"fields": (("request", "image"), "search_unit")}),
    )  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.compare_with_list)
        return [path("list/", page, name="registry_price_list"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Price]:
        queryset: QuerySet[Price] = super().get_queryset(request)
        return queryset.annotate(replaced=successor(timezone.now()))

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "route":
            kwargs["queryset"] = Route.objects.select_related("model", "provider")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return super().has_change_permission(request, obj) and not _is_closed(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not _is_closed(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Price]) -> None:
        for price in queryset:
            price.delete()

    @action(description="Take prices from the list", icon="download", permissions=["add"])  # type: ignore[untyped-decorator, unused-ignore]
    def take_from_list(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:registry_price_list"))

    def compare_with_list(self, request: HttpRequest) -> HttpResponse:
        """What the shipped list would change; sent with boxes ticked, it writes those."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = StartForm(request.GET or None)
        start = _start(request, form)
        rows = price_list.models()
        if chosen := _chosen_models(request):
            rows = rows.filter(pk__in=chosen)
        comparison = price_list.compare(rows, start)
        if request.method == "POST":
            self._take(request, comparison.writable)
            return HttpResponseRedirect(reverse("admin:registry_price_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Take prices from the list",
            "source": catalog.SOURCE,
            "comparison": comparison,
            "form": form,
            "start": start,
            "models": request.GET.get("models", ""),
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "registry/price_list.html", context)

    def _take(self, request: HttpRequest, writable: list[Proposal]) -> None:
        ticked = request.POST.getlist("take")
        wanted = [proposal for proposal in writable if proposal.identity in ticked]
        for proposal, row in zip(wanted, price_list.write(wanted), strict=True):
            self.log_addition(request, row, f"Taken from {catalog.SOURCE}: {proposal.entry}.")
        taken = "1 price was" if len(wanted) == 1 else f"{len(wanted)} prices were"
        self.message_user(request, f"{taken} taken from the list.", messages.SUCCESS)
        if len(wanted) < len(ticked):
            text = "Some were left out: they have changed since the page was made. Look again."
            self.message_user(request, text, messages.WARNING)

    @admin.display(description="Route", ordering="route")
    def of(self, price: Price) -> str:
        return target_of(price.route) if price.route else "all others"

    @admin.display(description="State")
    def state(self, price: Any) -> str:
        if price.withdrawn_at:
            return label("withdrawn", hint="Kept for the requests that were charged by it.")
        if price.starts_at > timezone.now():
            return label("to come", "info")
        if price.replaced:
            return label("replaced")
        return label("free", "success") if price.free else label("in force", "success")

    @admin.display(description="Input / 1M", ordering="input")
    def per_input(self, price: Price) -> str:
        return "free" if price.free else dollars(price.input)

    @admin.display(description="Cached input / 1M", ordering="cached_input")
    def per_cached(self, price: Price) -> str:
        return "free" if price.free else dollars(price.cached_input)

    @admin.display(description="Output / 1M", ordering="output")
    def per_output(self, price: Price) -> str:
        return "free" if price.free else dollars(price.output)

    @admin.display(description="Others")
    def others(self, price: Price) -> str:
        return other_figures(price)


def _is_closed(price: Price | None) -> bool:
    """Whether it is changed elsewhere, or no longer at all."""
    return bool(price and (price.model.managed_by or price.withdrawn_at))


def _start(request: HttpRequest, form: StartForm) -> datetime:
    """As the page that was sent says; else the chosen day's midnight; else now."""
    if request.method == "POST":
        sent = parse_datetime(request.POST.get("start", ""))
        return sent.astimezone(UTC) if sent else timezone.now()
    day = form.cleaned_data["day"] if form.is_valid() else None
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day else timezone.now()


def _chosen_models(request: HttpRequest) -> list[str]:
    keys = request.GET.get("models", "").split(",")
    return [key for key in keys if key.isdecimal() and len(key) <= LONGEST_KEY]
