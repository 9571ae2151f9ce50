"""People in the admin, and the groups of permissions that they may be in."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelect2MultipleWidget

from accounts import traces
from accounts.admin.budgets import BudgetInline
from accounts.admin.limits import LimitInline, WarnsOfModels
from accounts.models import ApiKey, Membership, User
from registry.admin.labels import label
from registry.admin.rows import UniqueRows

#: What gives power over others: only those who have it all may hand it out.
POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")

admin.site.unregister(Group)


class ChoosingMany(ModelAdmin):
    """Groups and permissions in a field with a search: the theme's two lists leave the page."""

    filter_horizontal = ()

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        field.widget = UnfoldAdminSelect2MultipleWidget(choices=field.choices)
        field.help_text = db_field.help_text
        return field


class TeamsFormSet(UniqueRows):
    unique = ("team",)
    complaint = "This team is in the list twice."


class TeamsInline(TabularInline):
    model = Membership
    formset = TeamsFormSet
    extra = 0
    fields = ("team", "role")
    autocomplete_fields = ("team",)
    tab = True
    hide_title = True
    verbose_name_plural = "teams"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        queryset: QuerySet[Membership] = super().get_queryset(request)
        return queryset.select_related("team", "user")


@admin.register(User)
class UserAdmin(WarnsOfModels, ChoosingMany, DjangoUserAdmin):  # type: ignore[misc, type-arg]  # see above
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "full_name", "email", "in_teams", "state", "role", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    list_filter_submit = True
    search_fields = ("username", "first_name", "last_name", "email", "teams__name")
    search_help_text = "Name, email or team"
    inlines = (TeamsInline, LimitInline, BudgetInline)
    fieldsets = (
        (None, {"fields": ("username", "password", ("first_name", "last_name"), "email")}),
        (
            "Permissions",
            {
                "classes": ("tab",),
                "fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions"),
            },
        ),
        ("Dates", {"classes": ("tab",), "fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),
    )
    readonly_fields = ("last_login", "date_joined")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        queryset: QuerySet[User] = super().get_queryset(request)
        keys = ApiKey.objects.filter(owner=OuterRef("pk"), revoked_at=None)
        return queryset.prefetch_related("teams").annotate(has_keys=Exists(keys))

    def get_inlines(self, request: HttpRequest, obj: User | None = None) -> tuple[Any, ...]:
        return self.inlines if obj else ()

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        own = super().get_readonly_fields(request, obj)
        return own if request.user.is_superuser else (*own, *POWERS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        # Whoever sets the password of a superuser becomes one.
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and (_has_all_powers(request) or not (obj and obj.is_superuser))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # The keys of a person who is gone would open the gateway again, and what they used
        # would be nobody's: deactivate instead.
        allowed: bool = super().has_delete_permission(request, obj)
        if obj is None:
            return allowed
        is_needed = obj.api_keys.filter(revoked_at=None).exists() or traces.left_by(obj)
        return allowed and not is_needed and (_has_all_powers(request) or not obj.is_superuser)

    @admin.display(description="Name", ordering="last_name")
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    @admin.display(description="Teams")
    def in_teams(self, user: User) -> str:
        return ", ".join(team.name for team in user.teams.all())

    @admin.display(description="State", ordering="is_active")
    def state(self, user: User) -> str:
        return label("active", "success") if user.is_active else label("inactive", "danger")

    @admin.display(description="Role", ordering="is_staff")
    def role(self, user: User) -> str:
        if user.is_superuser:
            return label("administrator", "info")
        return label("staff", "info") if user.is_staff else ""


def _has_all_powers(request: HttpRequest) -> bool:
    return bool(request.user.is_superuser)


@admin.register(Group)
class GroupAdmin(ChoosingMany, DjangoGroupAdmin):  # type: ignore[misc]  # see above
    """Permissions are handed out here, so it takes all of them to change a group."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return _has_all_powers(request)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return _has_all_powers(request)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return _has_all_powers(request)
