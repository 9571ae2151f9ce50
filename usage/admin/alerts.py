"""Alerts in the admin: what people were told, and what became of each delivery."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
)

from registry.admin.labels import label
from registry.conditions import Level
from usage import deliveries, emails
from usage.admin.reading import ReadOnlyAdmin
from usage.models import Alert, Delivery

KIND_LEVELS: dict[str, Level] = {
    Alert.Kind.THRESHOLD: "warning",
    Alert.Kind.SLOPE: "warning",
    Alert.Kind.RUN_OUT: "warning",
    Alert.Kind.DRIFT: "danger",
    Alert.Kind.QUARANTINE: "danger",
    Alert.Kind.STRAY: "danger",
    Alert.Kind.UNPRICED: "info",
    Alert.Kind.KEY_OUT: "danger",
    Alert.Kind.KEY_BUDGET: "warning",
}
STATE_LEVELS: dict[str, Level] = {
    Delivery.State.WAITING: "info",
    Delivery.State.DONE: "success",
    Delivery.State.FAILED: "danger",
}


class DeliveryFilter(DropdownFilter):
    """Alerts that have a delivery in this state."""

    title = "delivery"
    parameter_name = "delivery"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(text)) for value, text in Delivery.State.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        if self.value() not in Delivery.State.values:
            return queryset
        having = Delivery.objects.filter(state=self.value()).values("alert")
        return queryset.filter(pk__in=having)


class DeliveryInline(TabularInline):
    model = Delivery
    fields = ("to", "how_it_went", "tries", "trouble", "next_try", "delivered_at")
    readonly_fields = fields
    extra = 0
    hide_title = True
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        found: QuerySet[Delivery] = super().get_queryset(request)
        return found.select_related("webhook")

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whoever may see an alert may see what became of it."""
        return bool(request.user.has_perm("usage.view_alert"))

    @admin.display(description="To")
    def to(self, delivery: Delivery) -> str:
        return f"webhook {delivery.webhook}" if delivery.webhook else delivery.email

    @admin.display(description="State")
    def how_it_went(self, delivery: Delivery) -> str:
        return label(delivery.get_state_display(), STATE_LEVELS[delivery.state])

    @admin.display(description="Next try")
    def next_try(self, delivery: Delivery) -> Any:
        return delivery.next_try_at if delivery.state == Delivery.State.WAITING else None


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("raised_at", "what", "text", "team", "delivered")
    list_display_links = ("raised_at", "text")
    list_filter = (
        ("kind", ChoicesDropdownFilter),
        ("team", AutocompleteSelectFilter),
        DeliveryFilter,
    )
    list_select_related = ("team",)
    list_before_template = "usage/no_mail.html"
    actions: ClassVar[tuple[str, ...]] = ("send_again",)
    fields = ("raised_at", "what", "text", "team", "budget", "figures", "identity")
    inlines = (DeliveryInline,)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.send_one_again)
        return [
            path("<int:pk>/send-again/", view, name="usage_alert_send_again"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        found: QuerySet[Alert] = super().get_queryset(request)
        return found.annotate(
            arrived=Count("deliveries", filter=Q(deliveries__state=Delivery.State.DONE)),
            given_up=Count("deliveries", filter=Q(deliveries__state=Delivery.State.FAILED)),
            sent=Count("deliveries"),
        )

    def has_send_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("usage.change_delivery"))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        context = {"mail_is_sent": emails.are_sent(), **(extra_context or {})}
        page: HttpResponseBase = super().changelist_view(request, context)
        return page

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        alert: Any = self.get_object(request, object_id)
        may = alert is not None and alert.given_up > 0 and self.has_send_permission(request)
        context = {"may_send_again": may, **(extra_context or {})}
        page: HttpResponse = super().change_view(request, object_id, form_url, context)
        return page

    @admin.action(description="Send again what was given up", permissions=["send"])
    def send_again(self, request: HttpRequest, alerts: QuerySet[Alert]) -> None:
        failed = Delivery.objects.filter(alert__in=alerts, state=Delivery.State.FAILED)
        begun = sum(deliveries.send_again(delivery) for delivery in failed)
        if begun:
            self.message_user(request, f"{begun} will be sent again.", messages.SUCCESS)
        else:
            self.message_user(request, "None of these was given up.", messages.WARNING)

    @method_decorator(require_POST)
    def send_one_again(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not (self.has_view_permission(request) and self.has_send_permission(request)):
            raise PermissionDenied
        alert = get_object_or_404(Alert, pk=pk)
        self.send_again(request, Alert.objects.filter(pk=alert.pk))
        return HttpResponseRedirect(reverse("admin:usage_alert_change", args=(alert.pk,)))

    @admin.display(description="Kind", ordering="kind")
    def what(self, alert: Alert) -> str:
        return label(alert.get_kind_display(), KIND_LEVELS[alert.kind])

    @admin.display(description="Delivered")
    def delivered(self, alert: Any) -> str:
        if not alert.sent:
            return "to nobody"
        told = f"{alert.arrived} of {alert.sent}"
        return label(f"{told}, {alert.given_up} given up", "danger") if alert.given_up else told

    @admin.display(description="Figures")
    def figures(self, alert: Alert) -> str:
        return "\n".join(f"{name}: {value}" for name, value in sorted(alert.data.items()))
