"""Revisions in the admin: what changed, when, by whom; and the way back to one."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter
from unfold.widgets import UnfoldAdminTextInputWidget

from courier_site.manifest import ManifestError, Outcome
from courier_site.manifest.differences import unified
from courier_site.manifest.restoring import NAMED
from courier_site.revising import rollback
from courier_site.revising.rollback import Purged
from registry.admin.confirming import Asked, Confirming, Question, button, is_confirmed, was_seen
from registry.admin.labels import label
from registry.models import RecordedRevision, Revision
from registry.revisions import explain
from usage.admin.reading import ReadOnlyAdmin

CONSEQUENCE = (
    "The configuration becomes what it was then, within a second, on every instance. "
    "Secrets stay as they are now."
)
#: Of a diff that is longer, only the beginning is shown.
MOST_LINES = 1000
#: Changes that a line of the list tells in full.
IN_SHORT = 2
CLASSES = {"+": "revision-plus", "-": "revision-minus", "@": "revision-place"}


class KindFilter(admin.SimpleListFilter):
    """What kind of thing was changed."""

    title = "changed"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, kind.capitalize()) for kind in NAMED]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        kind = self.value()
        if kind not in NAMED:
            return queryset
        begins = Q(objects_changed__startswith=f"{kind} ")
        return queryset.filter(begins | Q(objects_changed__contains=f"\n{kind} "))


class AuthorFilter(DropdownFilter):
    """Everyone who ever changed anything."""

    title = "author"
    parameter_name = "author"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = RecordedRevision.objects.order_by("author").values_list("author", flat=True)
        return [(name, name) for name in names.distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(author=self.value()) if self.value() else queryset


class RestoreForm(forms.Form):
    """Why. It is asked for, and not demanded."""

    why = forms.CharField(
        label="Reason",
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="It goes into the note of the revision that this makes.",
    )


@admin.register(RecordedRevision)
class RecordedRevisionAdmin(Confirming, ReadOnlyAdmin):
    list_display = ("numbered", "made_at", "by", "in_short", "note")
    list_filter = (KindFilter, AuthorFilter, ("origin", ChoicesDropdownFilter))
    search_fields = ("objects_changed", "author", "note")
    search_help_text = "What was changed, by its name; author or note"
    fieldsets = (
        (None, {"fields": (("numbered", "made_at"), ("by", "note"))}),
        ("What was changed", {"fields": ("all_changes",)}),
        ("As a diff of the exported manifest", {"fields": ("diff",)}),
    )
    readonly_fields = ("numbered", "by", "all_changes", "diff")
    actions_detail = ("restore_one",)

    class Media:
        css = {"all": ("courier/overview.css", "courier/impact.css")}  # noqa: RUF012, RUF100

    def get_queryset(self, request: HttpRequest) -> QuerySet[RecordedRevision]:
        queryset: QuerySet[RecordedRevision] = super().get_queryset(request)
        is_list = request.resolver_match and "object_id" not in request.resolver_match.kwargs
        return queryset.defer("deflated", "rows") if is_list else queryset

    def has_restore_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return bool(request.user.has_perm("registry.restore_recordedrevision"))

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        is_newest = str(object_id) == str(_newest())
        return [] if is_newest else super().get_actions_detail(request, object_id)

    @button("Restore", "restore", "restore")
    def restore_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        revision = self.get_object(request, object_id)
        if revision is None:
            return HttpResponseRedirect(_list())
        try:
            return self._restore(request, revision)
        except (ManifestError, Purged) as error:
            for line in str(error).splitlines():
                self.message_user(request, line, messages.ERROR)
            return HttpResponseRedirect(_page_of(revision.number))

    def _restore(self, request: HttpRequest, revision: RecordedRevision) -> HttpResponse:
        seen = str(_newest())
        form = RestoreForm(request.POST if is_confirmed(request) else None)
        if not form.is_valid():
            details = told(rollback.plan(revision))
            question = Question(
                *("Restore", "revision", CONSEQUENCE, "danger", form),
                managed=bool(settings.COURIER_MANIFEST),
                details=details,
            )
            return self.ask(request, question, [Asked(revision.number, str(revision), "", seen)])
        if not was_seen(request, seen):
            text = "The configuration has changed since the page was made. Look again."
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(_page_of(revision.number))
        self._roll_back(request, revision, form.cleaned_data["why"])
        return HttpResponseRedirect(_list())

    def _roll_back(self, request: HttpRequest, revision: RecordedRevision, why: str) -> None:
        outcome = rollback.roll_back(revision)
        explain(why)
        self.log_change(request, revision, f"Restored. {why}".strip())
        self.message_user(request, f"Restored {revision}.", messages.SUCCESS)
        for warning in outcome.warnings:
            self.message_user(request, warning, messages.WARNING)

    @admin.display(description="Revision", ordering="number")
    def numbered(self, revision: RecordedRevision) -> str:
        return str(revision.number)

    @admin.display(description="Author", ordering="author")
    def by(self, revision: RecordedRevision) -> SafeString:
        origin = label(str(revision.get_origin_display()))
        return format_html("{} {}", revision.author or "unknown", origin)

    @admin.display(description="Changes")
    def in_short(self, revision: RecordedRevision) -> SafeString:
        lines = [(_shortened(line),) for line in revision.changes[:IN_SHORT]]
        if more := len(revision.changes[IN_SHORT:]):
            lines.append((f"and {more} more",))
        return format_html_join("", "<div>{}</div>", lines)

    @admin.display(description="Changes")
    def all_changes(self, revision: RecordedRevision) -> SafeString:
        return _list_of(revision.changes) or SafeString("nothing that an export tells")

    @admin.display(description="Diff")
    def diff(self, revision: RecordedRevision) -> SafeString:
        before = RecordedRevision.objects.filter(number=revision.number - 1).first()
        old, new = before.manifest if before else "", revision.manifest
        if old is None or new is None:
            return SafeString("no longer kept")
        names = (f"revision {revision.number - 1}", str(revision))
        return drawn(unified(old, new, names))


def told(outcome: Outcome) -> SafeString:
    """What would be done, as the page that asks shows it."""
    context = {
        "changes": outcome.changes,
        "warnings": outcome.warnings,
        "diff": drawn(outcome.diff) if outcome.diff else "",
    }
    return render_to_string("admin/planned.html", context)


def drawn(diff: str) -> SafeString:
    """A unified diff in color."""
    lines = diff.splitlines()
    told = [(CLASSES.get(line[:1], ""), line) for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        told.append(("revision-place", f"and {len(lines) - MOST_LINES} more lines"))
    inner = format_html_join("\n", '<span class="{}">{}</span>', told)
    return format_html('<pre class="revision-diff">{}</pre>', inner)


def _list_of(sentences: list[str]) -> SafeString:
    items = format_html_join("", "<li>{}</li>", [(each,) for each in sentences])
    return format_html('<ul class="revision-changes">{}</ul>', items) if sentences else items


def _shortened(line: str) -> str:
    longest = 120
    return line if len(line) <= longest else f"{line[:longest]}…"


def _newest() -> int:
    return Revision.objects.filter(pk=1).values_list("recorded", flat=True).first() or 0


def _page_of(number: int) -> str:
    return reverse("admin:registry_recordedrevision_change", args=[number])


def _list() -> str:
    return reverse("admin:registry_recordedrevision_changelist")
