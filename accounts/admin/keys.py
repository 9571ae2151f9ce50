"""API keys in the admin: issued and rotated with a secret that is shown once, never deleted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from accounts.admin import holding
from accounts.admin.archived import ArchivedFilter
from accounts.admin.budgets import BudgetInline
from accounts.admin.key_forms import GRACES, ApiKeyForm, GraceForm, PlanForm
from accounts.admin.limits import LimitInline, WarnsOfModels
from accounts.admin.outlooks import LooksAhead
from accounts.admin.spent import CSS
from accounts.keys import (
    archive_key,
    assign_plan,
    disable_key,
    enable_key,
    give_secret,
    revoke_key,
    rotate_key,
    shown,
)
from accounts.models import ApiKey
from registry.admin.confirming import Asked, Confirming, Question, button, is_confirmed, was_seen
from registry.admin.labels import label
from registry.admin.managed import ManagedAdmin, OriginFilter
from registry.conditions import Level
from registry.models import ServedModel

LEVELS: dict[str, Level] = {
    "usable": "success",
    "disabled": "warning",
    "expired": "warning",
    "revoked": "danger",
    "archived": "plain",
}


class StateFilter(admin.SimpleListFilter):
    """The states of a key. What is archived has a filter of its own."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in LEVELS if state != "archived"]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        ended = Q(expires_at__lte=timezone.now())
        match self.value():
            case "usable":
                return queryset.filter(revoked_at=None, disabled_at=None).exclude(ended)
            case "disabled":
                return queryset.filter(revoked_at=None).exclude(disabled_at=None)
            case "expired":
                return queryset.filter(ended, revoked_at=None, disabled_at=None)
            case "revoked":
                return queryset.exclude(revoked_at=None)
        return queryset


#: A plan sets limits and budgets, so it takes what setting them takes.
ALLOTTING = ("accounts.change_apikey", "accounts.change_ratelimit", "accounts.change_budget")


@dataclass(frozen=True, slots=True)
class Change:
    """Something that can be done to keys, and what it means for those who use them."""

    verb: str
    done: str
    consequence: str
    variant: Literal["primary", "danger"]
    apply: Callable[[ApiKey], None]
    #: To which keys it can be done, and what is said of others.
    applies: Q = Q(revoked_at=None)
    otherwise: str = "Revoked keys stay as they are."


REVOKE = Change(
    "Revoke",
    "Revoked.",
    "Requests are refused within a second. This cannot be undone.",
    "danger",
    revoke_key,
)
DISABLE = Change(
    "Disable",
    "Disabled.",
    "Requests are refused within a second, until it is enabled again.",
    "danger",
    disable_key,
)
ENABLE = Change(
    "Enable", "Enabled.", "Requests are answered again within a second.", "primary", enable_key
)
ARCHIVE = Change(
    "Archive",
    "Archived.",
    "It is revoked for good and leaves the lists. Its usage stays, under its name.",
    "danger",
    archive_key,
    Q(archived_at=None),
    "These keys are archived already.",
)
ROTATE = "Rotate"
#: The buttons of a key's own page, by its state.
BUTTONS: dict[str, Collection[str]] = {
    "usable": {"rotate_one", "disable_one", "revoke_one", "archive_one"},
    "expired": {"rotate_one", "disable_one", "revoke_one", "archive_one"},
    "disabled": {"rotate_one", "enable_one", "revoke_one", "archive_one"},
    "revoked": {"archive_one"},
    "archived": frozenset(),
}


@admin.register(ApiKey)
class ApiKeyAdmin(LooksAhead, Confirming, WarnsOfModels, ManagedAdmin):
    form = ApiKeyForm
    list_display = (
        *("name", "beginning", "team", "owner", "plan", "state", "expires_at", "runs_out"),
        "origin",
    )
    list_filter = (
        StateFilter,
        ArchivedFilter,
        ("team", AutocompleteSelectFilter),
        ("owner", AutocompleteSelectFilter),
        ("plan", AutocompleteSelectFilter),
        OriginFilter,
    )
    list_filter_submit = True
    list_select_related = ("team", "owner", "plan")
    search_fields = ("name", "public_id", "previous_public_id", "team__name", "owner__username")
    search_help_text = "Name, beginning of the secret, team or owner"
    autocomplete_fields = ("team", "owner", "plan")
    inlines = (LimitInline, BudgetInline)
    actions: ClassVar[list[str]] = [
        *("rotate", "assign_plan", "disable", "enable", "revoke", "archive"),
        *ManagedAdmin.actions,
    ]
    actions_detail = ("rotate_one", "disable_one", "enable_one", "revoke_one", "archive_one")
    fieldsets = (
        (None, {"fields": (("name", "team"), ("owner", "plan"), "expires_at")}),
        ("What it may use", {"fields": (("allowed_models", "allowed_endpoints"),)}),
    )
    how_much = ("How much it may use", {"fields": ("what_holds",)})
    facts = (None, {"fields": (("state", "beginning"), ("created_at", "former_secret"))})
    use_read_only = ("What it may use", {"fields": (("models_allowed", "endpoints_allowed"),)})

    class Media:
        css = CSS

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        about, use = self.fieldsets
        if obj is None:
            return about, use
        may_change = self.has_change_permission(request, obj)
        use = use if may_change else self.use_read_only
        shown = (self.facts, about, use)
        return (*shown, self.how_much) if holding.may_see(request) else shown

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        # What a key used is counted for its team: it stays where it is.
        facts = ("state", "beginning", "created_at", "former_secret", "team", "what_holds")
        shown = (*facts, "models_allowed", "endpoints_allowed") if obj else ()
        return shown if self.has_allot_permission(request) else (*shown, "plan")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # Usage refers to keys. They are revoked.

    def has_operate_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whether one may rotate, disable and revoke. It holds for keys of a manifest too."""
        return bool(request.user.has_perm("accounts.change_apikey"))

    def has_allot_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whether one may say how much a key may use: a plan is limits and budgets."""
        return bool(request.user.has_perms(ALLOTTING))

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        key = self.get_object(request, str(object_id))
        shown = BUTTONS[key.state] if key else ()
        buttons = super().get_actions_detail(request, object_id)
        return [button for button in buttons if button.path in shown]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            # On the object in hand alone, for the one page that shows it.
            obj.secret = give_secret(obj)
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._show_once(request, [(obj, obj.secret)])

    @admin.display(description="Secret", ordering="public_id")
    def beginning(self, key: ApiKey) -> str:
        return shown(key.public_id)

    @admin.display(description="State")
    def state(self, key: ApiKey) -> str:
        return label(key.state, LEVELS[key.state])

    @admin.display(description="Allowed models")
    def models_allowed(self, key: ApiKey) -> str:
        return ", ".join(key.allowed_models) or "none"

    @admin.display(description="Allowed endpoints")
    def endpoints_allowed(self, key: ApiKey) -> str:
        return ", ".join(key.allowed_endpoints) or "none"

    @admin.display(description="Former secret")
    def former_secret(self, key: ApiKey) -> str:
        if not key.previous_until or key.previous_until <= timezone.now():
            return "none"
        until = timezone.localtime(key.previous_until)
        return f"{shown(key.previous_public_id)} works until {until:%Y-%m-%d %H:%M %Z}"

    @admin.display(description="Limits and budgets in force")
    def what_holds(self, key: ApiKey) -> str:
        return holding.of_key(key)

    @admin.action(description="Rotate: give a new secret", permissions=["operate"])
    def rotate(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        return self._rotate(request, keys)

    @admin.action(description="Disable", permissions=["operate"])
    def disable(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        return self._change(request, keys, DISABLE)

    @admin.action(description="Enable", permissions=["operate"])
    def enable(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        return self._change(request, keys, ENABLE)

    @admin.action(description="Revoke for good", permissions=["operate"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        return self._change(request, keys, REVOKE)

    @admin.action(description="Archive", permissions=["operate"])
    def archive(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        return self._change(request, keys, ARCHIVE)

    @admin.action(description="Assign a plan", permissions=["allot"])
    def assign_plan(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        return self._assign(request, keys)

    @button("Rotate", "autorenew", "operate")
    def rotate_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._rotate(request, self._only(object_id)) or _page_of(object_id)

    @button("Disable", "pause", "operate")
    def disable_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._change(request, self._only(object_id), DISABLE) or _page_of(object_id)

    @button("Enable", "play_arrow", "operate")
    def enable_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._change(request, self._only(object_id), ENABLE) or _page_of(object_id)

    @button("Revoke", "block", "operate")
    def revoke_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._change(request, self._only(object_id), REVOKE) or _page_of(object_id)

    @button("Archive", "archive", "operate")
    def archive_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._change(request, self._only(object_id), ARCHIVE) or _page_of(object_id)

    def _only(self, object_id: str) -> QuerySet[ApiKey]:
        return (
            ApiKey.objects.filter(pk=object_id) if object_id.isdecimal() else ApiKey.objects.none()
        )

    def _change(
        self, request: HttpRequest, keys: QuerySet[ApiKey], change: Change
    ) -> HttpResponse | None:
        """Ask first; on a yes, do it. None means done: back to where it was asked for."""
        rows = list(keys.filter(change.applies).select_related("team"))
        if not rows:
            self.message_user(request, change.otherwise, messages.WARNING)
            return None
        if not is_confirmed(request):
            return self._ask(request, rows, change.verb, change.consequence, change.variant)
        for key in rows:
            change.apply(key)
            self.log_change(request, key, change.done)
        self.message_user(request, f"{change.done[:-1]}: {_names(rows)}.", messages.SUCCESS)
        return None

    def _rotate(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        rows = list(keys.filter(revoked_at=None).select_related("team"))
        form = GraceForm(request.POST if is_confirmed(request) else None)
        # A page that is loaded again must not rotate again: it would end the secret in use.
        rows = [key for key in rows if not form.is_bound or was_seen(request, key.public_id)]
        if not rows:
            text = "Nothing was rotated: these keys are revoked, or have a new secret already."
            self.message_user(request, text, messages.WARNING)
            return None
        if not form.is_valid():
            text = "A new secret is made, and shown once."
            return self._ask(request, rows, ROTATE, text, "primary", form)
        _, grace = GRACES[form.cleaned_data["grace"]]
        secrets = [(key, rotate_key(key, grace)) for key in rows]
        for key in rows:
            self.log_change(request, key, "Rotated.")
        return self._show_once(request, secrets)

    def _assign(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        rows = list(keys.filter(archived_at=None, managed_by="").select_related("team", "plan"))
        form = PlanForm(request.POST if is_confirmed(request) else None)
        if not rows:
            text = "No plan was assigned: these keys are archived, or belong to a manifest."
            self.message_user(request, text, messages.WARNING)
            return None
        if not form.is_valid():
            text = "Its limits and budgets hold within a second, where a key has none of its own."
            question = Question("Assign a plan to", "key", text, form=form, button="Assign")
            return self.ask(request, question, [_asked(key) for key in rows])
        for key in rows:
            before = key.plan
            assign_plan(key, form.cleaned_data["plan"])
            self.log_change(
                request, key, f"Plan changed from {before or 'none'} to {key.plan or 'none'}."
            )
        self.message_user(request, f"Plan assigned: {_names(rows)}.", messages.SUCCESS)
        return None

    def _ask(
        self,
        request: HttpRequest,
        keys: list[ApiKey],
        verb: str,
        consequence: str,
        variant: Literal["primary", "danger"],
        form: forms.Form | None = None,
    ) -> HttpResponse:
        managed = any(key.managed_by for key in keys)
        question = Question(verb, "key", consequence, variant, form, managed=managed)
        return self.ask(request, question, [_asked(key) for key in keys])

    def _show_once(self, request: HttpRequest, secrets: list[tuple[ApiKey, str]]) -> HttpResponse:
        """The one answer that holds these secrets: in no cache, session, log or URL."""
        context = {
            "title": "API key" if len(secrets) == 1 else "API keys",
            "secrets": secrets,
            "model": _usable_model(secrets[0][0]),
            "url": request.build_absolute_uri("/v1/chat/completions"),
        }
        return self.page(request, "accounts/secret.html", context)


def _asked(key: ApiKey) -> Asked:
    detail = f"team {key.team.name}, {shown(key.public_id)}"
    return Asked(key.pk, key.name, detail, seen=key.public_id)


def _page_of(object_id: str) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:accounts_apikey_change", args=[object_id]))


def _names(keys: Iterable[ApiKey]) -> str:
    return ", ".join(key.name for key in keys)


def _usable_model(key: ApiKey) -> str:
    """A model that the key may use, for the example."""
    names = ServedModel.objects.filter(enabled=True).values_list("name", flat=True)
    patterns = key.allowed_models
    fitting = (n for n in names if "*" not in n and any(fnmatchcase(n, p) for p in patterns))
    return next(fitting, "your-model")
