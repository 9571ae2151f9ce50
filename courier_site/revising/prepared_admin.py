"""Prepared changes in the admin: entered, looked at, approved by another, or withdrawn."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from courier_site.manifest import ManifestError
from courier_site.revising import preparing
from courier_site.revising.admin import told
from courier_site.revising.preparing import NotAllowed
from registry.admin.confirming import Asked, Confirming, Question, button, is_confirmed
from registry.admin.labels import label
from registry.conditions import Level
from registry.models import PreparedChange
from usage.admin.reading import ReadOnlyAdmin

State = PreparedChange.State
LEVELS: dict[str, Level] = {
    State.WAITING: "warning",
    State.SCHEDULED: "info",
    State.APPLIED: "success",
    State.FAILED: "danger",
    State.WITHDRAWN: "plain",
}
BUTTONS = {
    State.WAITING: {"approve_one", "withdraw_one"},
    State.SCHEDULED: {"withdraw_one"},
}


class PreparedChangeForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """A manifest that could be applied now."""

    class Meta:
        model = PreparedChange
        fields = ("title", "manifest", "starts_at")

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return values
        try:
            preparing.plan(PreparedChange(title=values["title"], manifest=values["manifest"]))
        except ManifestError as error:
            raise ValidationError({"manifest": error.complaints}) from error
        return values


@admin.register(PreparedChange)
class PreparedChangeAdmin(Confirming, ReadOnlyAdmin):
    form = PreparedChangeForm
    list_display = ("title", "condition", "starts_at", "made_by", "made_at", "approved_by")
    list_filter = (("state", ChoicesDropdownFilter), "made_by")
    search_fields = ("title", "made_by")
    search_help_text = "Title, or who prepared it"
    actions_detail = ("approve_one", "withdraw_one")
    asked = ((None, {"fields": ("title", "starts_at", "manifest")}),)
    about = (None, {"fields": (("title", "condition"), ("starts_at", "revision"), "trouble")})
    who = ("Who", {"fields": (("made_by", "made_at"), ("approved_by", "approved_at"))})
    planned = ("What it would change now", {"fields": ("would_change",)})
    text = ("Manifest", {"fields": ("manifest_told",)})

    class Media:
        css = {"all": ("courier/overview.css", "courier/impact.css")}  # noqa: RUF012, RUF100

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("registry.add_preparedchange"))

    def has_approve_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return bool(request.user.has_perm("registry.approve_preparedchange"))

    def has_withdraw_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return bool(request.user.has_perm("registry.add_preparedchange"))

    def get_fieldsets(self, request: HttpRequest, obj: PreparedChange | None = None) -> Any:
        if obj is None:
            return self.asked
        is_open = obj.state in (State.WAITING, State.SCHEDULED)
        return (self.about, self.who, *([self.planned] if is_open else []), self.text)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        change = self.get_object(request, str(object_id))
        shown = BUTTONS.get(State(change.state), set()) if change else set()
        buttons = super().get_actions_detail(request, object_id)
        return [each for each in buttons if each.path in shown]

    def save_model(
        self, request: HttpRequest, obj: PreparedChange, form: Any, change: bool
    ) -> None:
        obj.made_by = request.user.get_username()
        super().save_model(request, obj, form, change)

    @button("Approve", "task_alt", "approve")
    def approve_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        change = self.get_object(request, object_id)
        if change is None:
            return HttpResponseRedirect(reverse("admin:registry_preparedchange_changelist"))
        try:
            return self._approve(request, change)
        except (ManifestError, NotAllowed) as error:
            for line in str(error).splitlines():
                self.message_user(request, line, messages.ERROR)
        return HttpResponseRedirect(_page_of(change))

    def _approve(self, request: HttpRequest, change: PreparedChange) -> HttpResponse:
        if not is_confirmed(request):
            when = f"at {change.starts_at:%Y-%m-%d %H:%M %Z}" if change.starts_at else "now"
            details = told(preparing.plan(change))
            text = f"It takes effect {when}."
            question = Question("Approve", "prepared change", text, details=details)
            return self.ask(request, question, [Asked(change.pk, change.title, "")])
        preparing.approve(change, request.user.get_username())
        self.log_change(request, change, "Approved.")
        self.message_user(request, f"Approved: {change.get_state_display()}.", messages.SUCCESS)
        return HttpResponseRedirect(_page_of(change))

    @button("Withdraw", "undo", "withdraw")
    def withdraw_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        change = self.get_object(request, object_id)
        if change is None:
            return HttpResponseRedirect(reverse("admin:registry_preparedchange_changelist"))
        if not is_confirmed(request):
            question = Question("Withdraw", "prepared change", "It will not take effect.")
            return self.ask(request, question, [Asked(change.pk, change.title, "")])
        preparing.withdraw(change)
        self.log_change(request, change, "Withdrawn.")
        return HttpResponseRedirect(_page_of(change))

    @admin.display(description="State", ordering="state")
    def condition(self, change: PreparedChange) -> str:
        return label(str(change.get_state_display()), LEVELS[change.state])

    @admin.display(description="Plan")
    def would_change(self, change: PreparedChange) -> SafeString:
        try:
            return told(preparing.plan(change))
        except ManifestError as error:
            return label("cannot be applied", "danger", hint=str(error))

    @admin.display(description="Manifest")
    def manifest_told(self, change: PreparedChange) -> SafeString:
        return format_html('<pre class="revision-diff">{}</pre>', change.manifest)


def _page_of(change: PreparedChange) -> str:
    return reverse("admin:registry_preparedchange_change", args=[change.pk])
