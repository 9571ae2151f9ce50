"""What limits and budgets have in common in the admin: each is for one key, team, user or plan."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from accounts.models import Scoped
from registry.admin.autocomplete import Autocompletes

SCOPE_FIELDS = ("key", "team", "user", "plan")
#: The same as a form shows them.
SCOPE_ROWS = (("key", "team"), ("user", "plan"))
WHOM = "Choose one of the four. With a plan, it holds for each of its keys."


class OneScope(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """A part of forms that ask whom the row is for."""

    #: What no two rows of one scope may have in common, and what is said of it at the last.
    unique: ClassVar[tuple[str, ...]]
    complaint: ClassVar[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "key" in self.fields:
            self.fields["key"].help_text = WHOM

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        chosen = [name for name in SCOPE_FIELDS if values.get(name)]
        if set(SCOPE_FIELDS) & set(self.errors):
            return values
        if len(chosen) != 1:
            self.add_error("key", "Choose a key, a team, a user or a plan: one of the four.")
            return values
        self._refuse_a_manifests(chosen[0], values[chosen[0]])
        if not self.errors and self._has_twin(values):
            self.add_error(self.unique[-1], self.complaint)
        return values

    def _refuse_a_manifests(self, field: str, scope: Any) -> None:
        if manifest := getattr(scope, "managed_by", ""):
            self.add_error(field, f"{scope} comes from the manifest {manifest}: change it there.")

    def _has_twin(self, values: dict[str, Any]) -> bool:
        same = {name: values[name] for name in (*SCOPE_FIELDS, *self.unique)}
        rows: QuerySet[Any] = type(self.instance)._default_manager.filter(**same)
        return rows.exclude(pk=self.instance.pk).exists()


class ScopeFilter(admin.SimpleListFilter):
    """What the row is for."""

    title = "for"
    parameter_name = "scope"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("key", "Keys"), ("team", "Teams"), ("user", "Users"), ("plan", "Plans")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() in SCOPE_FIELDS:
            return queryset.filter(~Q(**{f"{self.value()}": None}))
        return queryset


class ScopedAdmin(Autocompletes, ModelAdmin):
    """The list of limits or budgets over all keys, teams, users and plans."""

    list_select_related = ("key__team", "team", "user", "plan")
    list_filter_submit = True
    autocomplete_fields = SCOPE_FIELDS
    search_fields: tuple[str, ...] = (
        "key__name",
        "key__public_id",
        "team__name",
        "user__username",
        "plan__name",
    )
    search_help_text = "Key, team, user or plan"
    change_form_outer_before_template = "accounts/managed_scope.html"

    def has_change_permission(self, request: HttpRequest, obj: Scoped | None = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and not (obj and obj.manifest)

    def has_delete_permission(self, request: HttpRequest, obj: Scoped | None = None) -> bool:
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and not (obj and obj.manifest)

    @admin.display(description="For")
    def scope(self, row: Scoped) -> str:
        kind = next(name for name in SCOPE_FIELDS if getattr(row, f"{name}_id"))
        return f"{kind.capitalize()} {row.scope}"
