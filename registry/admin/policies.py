"""Routing policies in the admin."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.http import HttpRequest

from registry.admin.managed import OriginFilter
from registry.admin.policy_forms import PolicyForm
from registry.admin.switching import SwitchingAdmin
from registry.models import Provider, RoutingPolicy

OF_CONDITIONS = "All that is filled in must hold. Nothing filled in: the policy always applies."
OF_ACTIONS = (
    "What becomes of the routes. If no route is left, the request is refused with "
    "refused_by_policy, and nobody is called."
)
NOBODY = "No provider is called “{}”: a policy that pins it alone refuses what it holds for."


@admin.register(RoutingPolicy)
class RoutingPolicyAdmin(SwitchingAdmin):
    form = PolicyForm
    list_display = ("position", "name", "asks", "does", "enabled", "origin")
    list_display_links = ("name",)
    list_filter = ("enabled", OriginFilter)
    search_fields = ("name", "description")
    search_help_text = "Name or description"
    ordering = ("position", "name")
    fieldsets: ClassVar[Any] = (
        (None, {"fields": (("name", "position"), "description", "enabled")}),
        (
            "When",
            {
                "description": OF_CONDITIONS,
                "fields": (
                    ("when_teams", "when_keys"),
                    ("when_models", "when_endpoints"),
                    ("when_tags", "when_budget_used_at_least"),
                    ("when_input_tokens_at_least", "when_input_tokens_at_most"),
                    ("when_hours", "when_time_zone"),
                    "when_days",
                    "when_needs",
                ),
            },
        ),
        (
            "Then",
            {
                "description": OF_ACTIONS,
                "fields": (
                    ("then_pin", "then_exclude"),
                    ("then_prefer", "then_max_cost"),
                    "then_certified",
                    "then_last",
                ),
            },
        ),
    )

    def get_fieldsets(self, request: HttpRequest, obj: RoutingPolicy | None = None) -> Any:
        """Read-only, the conditions and actions are words: their fields are not the row's."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        return (fieldsets[0], ("What it does", {"fields": ("asks", "does")}))

    def get_readonly_fields(self, request: HttpRequest, obj: RoutingPolicy | None = None) -> Any:
        return (*super().get_readonly_fields(request, obj), "asks", "does")

    def save_model(self, request: HttpRequest, obj: RoutingPolicy, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        for pattern in _that_name_nobody(obj.actions):
            self.message_user(request, NOBODY.format(pattern), messages.WARNING)

    @admin.display(description="When")
    def asks(self, policy: RoutingPolicy) -> str:
        return _in_words(policy.conditions) or "always"

    @admin.display(description="Then")
    def does(self, policy: RoutingPolicy) -> str:
        return _in_words(policy.actions)


def _that_name_nobody(actions: Mapping[str, Any]) -> list[str]:
    """Patterns of routes that no provider's name fits: most are misspelled."""
    patterns = [each for name in ("pin", "exclude", "prefer") for each in actions.get(name, ())]
    names = list(Provider.objects.values_list("name", flat=True))
    return [each for each in patterns if not fnmatch.filter(names, each.partition("/")[0])]


def _in_words(told: Any) -> str:
    """Conditions or actions in a line."""
    if not isinstance(told, Mapping):
        return ""
    return "; ".join(f"{name.replace('_', ' ')}: {_listed(value)}" for name, value in told.items())


def _listed(value: Any) -> str:
    match value:
        case list():
            return ", ".join(map(str, value))
        case True:
            return "yes"
    return str(value)
