"""Providers and their upstream keys in the admin. A stored secret is never shown again."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.views import ChangeList

from registry import conditions, key_figures, key_states
from registry.admin.generic_forms import DESCRIPTION
from registry.admin.interventions import INTERVENTIONS, Intervening
from registry.admin.labels import label
from registry.admin.managed import OriginFilter
from registry.admin.option_forms import FIELDS, SHOWN_IF, ProviderForm
from registry.admin.rows import UniqueRows
from registry.admin.switching import SwitchingAdmin
from registry.admin.upstream_keys import SecretForm, told
from registry.key_health import Board
from registry.models import Certification, Intervention, Provider, Route, UpstreamKey


class UpstreamKeyFormSet(UniqueRows):
    unique = ("name",)
    complaint = "Two keys of one provider must not have the same name."


class UpstreamKeyInline(TabularInline):
    model = UpstreamKey
    form = SecretForm
    formset = UpstreamKeyFormSet
    extra = 0
    hide_title = True
    readonly_fields = ("condition", "bounds", "changed_at")

    def get_fields(self, request: HttpRequest, obj: Provider | None = None) -> list[str]:
        fields = ["name", "weight", "enabled", "condition", "bounds", "changed_at"]
        if self._may_write(request, obj):
            fields.insert(1, "new_secret")
        return fields

    def _may_write(self, request: HttpRequest, provider: Provider | None) -> bool:
        may = request.user.has_perm
        allowed = may("registry.add_upstreamkey") or may("registry.change_upstreamkey")
        return allowed and not (provider and provider.managed_by)

    @admin.display(description="State")
    def condition(self, key: UpstreamKey) -> str:
        if not key.pk:
            return "new"
        return told(key, self._board, key_figures.of([key]).get(key.pk))

    @admin.display(description="Limits, models and budget")
    def bounds(self, key: UpstreamKey) -> str:
        if not key.pk:
            return "once it is saved"
        link = reverse("admin:registry_upstreamkey_change", args=(key.pk,))
        return format_html('<a class="underline" href="{}">{}</a>', link, key_states.bounds(key))

    @cached_property
    def _board(self) -> Board | None:
        """What instances know, looked up once for a page: each has an inline of its own."""
        return key_states.known()


class ProviderList(ChangeList):
    """Looks up the breakers once for the page, not for each row."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        breakers = conditions.breakers()
        for provider in self.result_list:
            provider.condition = conditions.provider_condition(provider, breakers)


@admin.register(Provider)
class ProviderAdmin(Intervening, SwitchingAdmin):
    actions: ClassVar[list[str]] = [*SwitchingAdmin.actions, *INTERVENTIONS]
    form = ProviderForm
    conditional_fields = SHOWN_IF
    taken_along = (UpstreamKey, Route, Intervention, Certification)
    list_display = ("name", "kind", "address", "state", "keys_held", "enabled", "origin")
    list_filter = (("kind", ChoicesDropdownFilter), "enabled", OriginFilter)
    list_filter_submit = True
    search_fields = ("name", "base_url")
    search_help_text = "Name or base URL"
    inlines = (UpstreamKeyInline,)
    fieldsets = (
        (None, {"fields": ("name", "kind", "base_url", *FIELDS.values(), DESCRIPTION, "enabled")}),
        (
            "Time-outs, in seconds",
            {
                "classes": ("tab",),
                "fields": (
                    ("connect_timeout_s", "tls_timeout_s"),
                    ("first_byte_timeout_s", "idle_timeout_s"),
                    "total_timeout_s",
                ),
            },
        ),
        (
            "Clients that leave",
            {"classes": ("tab",), "fields": (("on_disconnect", "drain_timeout_s"),)},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        queryset: QuerySet[Provider] = super().get_queryset(request)
        return queryset.prefetch_related("keys", "routes", conditions.in_force())

    def get_fieldsets(self, request: HttpRequest, obj: Provider | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        # What only looks like a field of the form is not there to be read.
        first = tuple(each for each in fieldsets[0][1]["fields"] if each not in SHOWN_IF)
        return ((None, {"fields": (*first, "options_told")}), *fieldsets[1:])

    def get_readonly_fields(self, request: HttpRequest, obj: Provider | None = None) -> Any:
        return (*super().get_readonly_fields(request, obj), "options_told")

    @admin.display(description="Options")
    def options_told(self, provider: Provider) -> str:
        told = [
            f"{name}: {', '.join(each) if isinstance(each, list) else _in_short(each)}"
            for name, each in provider.options.items()
        ]
        return "; ".join(told) or "none"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ProviderList

    @admin.display(description="Address")
    def address(self, provider: Provider) -> str:
        return provider.effective_base_url

    @admin.display(description="Keys")
    def keys_held(self, provider: Provider) -> int:
        return len(provider.keys.all())

    @admin.display(description="State")
    def state(self, provider: Any) -> str:
        condition: conditions.Condition = provider.condition
        return label(condition.word, condition.level, hint=condition.detail)


def _in_short(option: Any) -> str:
    return json.dumps(option, ensure_ascii=False) if isinstance(option, dict) else str(option)
