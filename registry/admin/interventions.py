"""What staff do in a partial outage, in the admin: for a while, and in the audit log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin

from registry.admin.autocomplete import Autocompletes
from registry.admin.labels import label
from registry.models import Intervention, Provider, Route

#: How long what is ordered from a list lasts, and is offered in the form.
FOR = timedelta(hours=1)


@admin.register(Intervention)
class InterventionAdmin(Autocompletes, ModelAdmin):
    list_display = ("what", "where", "until", "state", "reason", "begun_by", "begun_at")
    list_display_links = None
    list_select_related = ("provider", "route__provider", "route__model")
    search_fields = ("provider__name", "route__model__name", "reason", "begun_by")
    search_help_text = "Provider, model, reason or who began it"
    autocomplete_fields = ("provider", "route")
    fields = ("kind", ("provider", "route"), "until", "reason")
    actions: ClassVar[list[str]] = ["end"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"until": timezone.now() + FOR, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Intervention, form: Any, change: bool) -> None:
        obj.begun_by = request.user.get_username()
        super().save_model(request, obj, form, change)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One is ended and another begun, so that the log tells what was when."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_end_permission(self, request: HttpRequest) -> bool:
        return bool(self.has_add_permission(request))

    @admin.action(description="End now", permissions=["end"])
    def end(self, request: HttpRequest, rows: QuerySet[Intervention]) -> None:
        ended = [row for row in rows if row.is_in_force]
        for row in ended:
            row.until = timezone.now()
            row.save(update_fields=["until"])
            self.log_change(request, row, "Ended.")
        self.message_user(request, f"{len(ended)} ended.", messages.SUCCESS)

    @admin.display(description="What", ordering="kind")
    def what(self, row: Intervention) -> str:
        return row.get_kind_display().partition(":")[0]

    @admin.display(description="Where")
    def where(self, row: Intervention) -> str:
        return str(row.route or row.provider)

    @admin.display(description="State")
    def state(self, row: Intervention) -> str:
        return label("in force", "warning") if row.is_in_force else label("ended")


class Intervening:
    """A part of admins of providers and of routes: what can be ordered from their lists."""

    def has_intervene_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("registry.add_intervention"))

    @admin.action(description="Drain for an hour", permissions=["intervene"])
    def drain(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._order(request, rows, Intervention.Kind.DRAIN, "gets no new requests for an hour")

    @admin.action(description="Pin for an hour", permissions=["intervene"])
    def pin(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._order(request, rows, Intervention.Kind.PIN, "alone is used for an hour")

    @admin.action(description="Try again now", permissions=["intervene"])
    def try_again(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        self._order(request, rows, Intervention.Kind.TRY_AGAIN, "is tried again")

    def _order(self, request: HttpRequest, rows: QuerySet[Any], kind: str, told: str) -> None:
        this: Any = self
        for row in rows:
            name = {Provider: "provider", Route: "route"}[type(row)]
            ordered = Intervention.objects.create(
                kind=kind,
                until=timezone.now() + FOR,
                begun_by=request.user.get_username(),
                **{name: row},
            )
            this.log_addition(request, ordered, "Begun.")
            this.log_change(request, row, f"Intervention: {ordered}.")
            this.message_user(request, f"“{row}” {told}.", messages.SUCCESS)


INTERVENTIONS = ["drain", "pin", "try_again"]
