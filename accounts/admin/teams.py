"""Teams in the admin: their people, limits and budgets; archived with their keys, not deleted."""

from __future__ import annotations

import zoneinfo
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.admin import TabularInline
from unfold.widgets import UnfoldAdminSelect2Widget

from accounts import traces
from accounts.admin import holding
from accounts.admin.archived import ArchivedFilter
from accounts.admin.budgets import BudgetInline
from accounts.admin.limits import LimitInline, WarnsOfModels
from accounts.admin.outlooks import LooksAhead
from accounts.admin.plans import Protected, keys_link
from accounts.admin.spent import CSS
from accounts.keys import archive_team, restore_team
from accounts.models import Membership, Team
from registry.admin.confirming import Asked, Confirming, Question, button, is_confirmed
from registry.admin.labels import label
from registry.admin.managed import ManagedAdmin, OriginFilter
from registry.admin.rows import UniqueRows

CONSEQUENCE = (
    "All its keys are revoked for good, within a second, and it leaves the lists. "
    "What it used stays, under its name."
)


class MembershipFormSet(UniqueRows):
    unique = ("user",)
    complaint = "This person is in the list twice."


class MembershipInline(TabularInline):
    model = Membership
    formset = MembershipFormSet
    extra = 0
    fields = ("user", "role")
    autocomplete_fields = ("user",)
    hide_title = True
    verbose_name = "member"
    verbose_name_plural = "members"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        queryset: QuerySet[Membership] = super().get_queryset(request)
        return queryset.select_related("team", "user")


def time_zone_widget() -> forms.Widget:
    """All time zones, to be picked while one types."""
    names = sorted(zoneinfo.available_timezones())
    widget: forms.Widget = UnfoldAdminSelect2Widget(choices=[(name, name) for name in names])
    return widget


class TeamForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    class Meta:
        model = Team
        fields = ("name", "time_zone", "markup_percent")
        widgets: ClassVar[dict[str, forms.Widget]] = {"time_zone": time_zone_widget()}


@admin.register(Team)
class TeamAdmin(LooksAhead, Confirming, WarnsOfModels, Protected):
    form = TeamForm
    list_display = (
        *("name", "state", "people", "keys_in_use", "time_zone", "markup", "runs_out"),
        "origin",
    )
    list_filter = (ArchivedFilter, OriginFilter)
    list_filter_submit = True
    search_fields = ("name", "members__username")
    search_help_text = "Name or member"
    ordering = ("name",)
    inlines = (MembershipInline, LimitInline, BudgetInline)
    fieldsets = ((None, {"fields": ("name", ("time_zone", "markup_percent"))}),)
    how_much = ("How much it may use", {"fields": ("what_holds",)})
    actions: ClassVar[list[str]] = ["archive", "restore", *ManagedAdmin.actions]
    actions_detail = ("archive_one", "restore_one")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        queryset: QuerySet[Team] = super().get_queryset(request)
        in_use = Q(api_keys__revoked_at=None, api_keys__isnull=False)
        return queryset.annotate(
            member_count=Count("memberships", distinct=True),
            key_count=Count("api_keys", filter=in_use, distinct=True),
        )

    class Media:
        css = CSS

    def get_fieldsets(self, request: HttpRequest, obj: Team | None = None) -> Any:
        shown = obj and holding.may_see(request)
        return (*self.fieldsets, self.how_much) if shown else self.fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Team | None = None) -> Any:
        # What a team is charged is a price: it takes the right to set prices.
        may_price = request.user.has_perm("registry.change_price")
        return ("what_holds",) if may_price else ("what_holds", "markup_percent")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and not (obj and traces.left_by(obj))

    def has_archive_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whether one may archive teams, which revokes keys. It holds for a manifest's too."""
        needed = ("accounts.change_team", "accounts.change_apikey")
        return bool(request.user.has_perms(needed))

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        team = self.get_object(request, str(object_id))
        shown = "restore_one" if team and team.archived_at else "archive_one"
        buttons = super().get_actions_detail(request, object_id)
        return [button for button in buttons if button.path == shown]

    @admin.display(description="Limits and budgets in force")
    def what_holds(self, team: Team) -> str:
        return holding.of_team(team)

    @admin.display(description="State")
    def state(self, team: Team) -> str:
        return label("archived") if team.archived_at else label("in use", "success")

    @admin.display(description="Members", ordering="member_count")
    def people(self, team: Any) -> int:
        count: int = team.member_count
        return count

    @admin.display(description="API keys", ordering="key_count")
    def keys_in_use(self, team: Any) -> str:
        return keys_link("team", team.pk, team.key_count)

    @admin.display(description="Markup", ordering="markup_percent")
    def markup(self, team: Team) -> str:
        return f"{team.markup_percent.normalize():+f} %" if team.markup_percent else "none"

    @admin.action(description="Archive", permissions=["archive"])
    def archive(self, request: HttpRequest, teams: QuerySet[Team]) -> HttpResponse | None:
        return self._archive(request, list(teams.filter(archived_at=None)))

    @admin.action(description="Restore", permissions=["archive"])
    def restore(self, request: HttpRequest, teams: QuerySet[Team]) -> None:
        self._restore(request, list(teams.exclude(archived_at=None)))

    @button("Archive", "archive", "archive")
    def archive_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        teams = [team for team in self._only(request, object_id) if not team.archived_at]
        return self._archive(request, teams) or _page_of(object_id)

    @button("Restore", "unarchive", "archive")
    def restore_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        teams = [team for team in self._only(request, object_id) if team.archived_at]
        if teams and not is_confirmed(request):
            text = "New keys can be issued for it. Its former keys stay revoked."
            return self.ask(request, Question("Restore", "team", text), [_asked(t) for t in teams])
        self._restore(request, teams)
        return _page_of(object_id)

    def _only(self, request: HttpRequest, object_id: str) -> list[Team]:
        team = self.get_object(request, object_id)
        return [team] if team else []

    def _archive(self, request: HttpRequest, teams: list[Team]) -> HttpResponse | None:
        """Ask first; on a yes, do it. None means done: back to where it was asked for."""
        if not teams:
            self.message_user(request, "It is archived already.", messages.WARNING)
            return None
        if not is_confirmed(request):
            managed = any(team.managed_by for team in teams)
            question = Question("Archive", "team", CONSEQUENCE, "danger", managed=managed)
            return self.ask(request, question, [_asked(team) for team in teams])
        for team in teams:
            keys = archive_team(team)
            names = ", ".join(key.name for key in keys) or "none"
            self.log_change(request, team, f"Archived, with its keys: {names}.")
        self.message_user(request, f"Archived: {_names(teams)}.", messages.SUCCESS)
        return None

    def _restore(self, request: HttpRequest, teams: list[Team]) -> None:
        for team in teams:
            restore_team(team)
            self.log_change(request, team, "Restored. Its former keys stay revoked.")
        self.message_user(request, f"Restored: {_names(teams) or 'none'}.", messages.SUCCESS)


def _asked(team: Team) -> Asked:
    in_use = team.api_keys.filter(revoked_at=None).order_by("name").values_list("name", flat=True)
    return Asked(team.pk, team.name, f"keys in use: {', '.join(in_use) or 'none'}")


def _names(teams: list[Team]) -> str:
    return ", ".join(team.name for team in teams)


def _page_of(object_id: str) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:accounts_team_change", args=[object_id]))
