"""Who took what, in the admin: how far it is, and the file once it is there."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from registry.admin.labels import label
from registry.conditions import Level
from usage import exports
from usage.admin.reading import ReadOnlyAdmin
from usage.downloads import Download, pieces_of
from usage.models import Export

LEVELS: dict[str, Level] = {
    "waiting": "plain",
    "running": "info",
    "done": "success",
    "failed": "danger",
}
MANIFEST = "application/json"
#: The right to see what an export of this kind was made of.
SEEN: dict[str, str] = {
    Export.Kind.REQUESTS: "usage.view_usagerecord",
    Export.Kind.REPORT: "usage.view_reportdefinition",
}


@admin.register(Export)
class ExportAdmin(ReadOnlyAdmin):
    list_display = ("started_at", "requested_by", "what", "number", "how_it_ended", "take")
    list_filter = (
        ("requested_by", AutocompleteSelectFilter),
        ("state", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
    )
    list_select_related = ("requested_by", "definition")
    change_form_before_template = "usage/export_progress.html"
    fieldsets = (
        (None, {"fields": ("what", "requested_by", "as_of_utc", "started_at", "ended_at")}),
        ("File", {"fields": ("format", "number", "bytes", "checksum")}),
    )

    def get_urls(self) -> list[URLPattern]:
        views = [("file", self.file), ("manifest", self.manifest), ("progress", self.progress)]
        return [
            path(f"<int:pk>/{name}/", self.admin_site.admin_view(view), name=f"usage_export_{name}")
            for name, view in views
        ] + list(super().get_urls())

    def get_list_display(self, request: HttpRequest) -> Any:
        may_take_any = request.user.has_perm("usage.add_export")
        return self.list_display if may_take_any else self.list_display[:-1]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponseBase:
        export = self.get_object(request, object_id)
        context = extra_context or {}
        if export is not None:
            context |= {
                "export": export,
                "level": LEVELS[export.state],
                "progress": progress_of(export),
                "may_take": may_take(request, export),
                "title": f"Export {export.pk}",
            }
        page: HttpResponseBase = super().change_view(request, object_id, form_url, context)
        return page

    def progress(self, request: HttpRequest, pk: int) -> JsonResponse:
        """For the script that draws the bar."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return JsonResponse(progress_of(get_object_or_404(Export, pk=pk)))

    def file(self, request: HttpRequest, pk: int) -> StreamingHttpResponse:
        path = self._path(request, pk)
        kind = "text/csv; charset=utf-8" if path.suffix == ".csv" else "application/octet-stream"
        return _sent(path, kind)

    def manifest(self, request: HttpRequest, pk: int) -> StreamingHttpResponse:
        return _sent(exports.manifest_of(self._path(request, pk)), MANIFEST)

    def _path(self, request: HttpRequest, pk: int) -> Path:
        if not self.has_view_permission(request):
            raise PermissionDenied
        export = get_object_or_404(Export, pk=pk)
        if not may_take(request, export):
            raise PermissionDenied
        path = exports.folder() / export.file
        if export.state != Export.State.DONE or not export.file or not path.is_file():
            raise Http404("The file is not there, or no longer.")
        return path

    @admin.display(description="What")
    def what(self, export: Export) -> str:
        if export.kind == Export.Kind.REPORT:
            return f"Report {export.definition or '(deleted)'}, {_days_of(export)}"
        told = [f"{name} = {value}" for name, value in sorted(export.filters.items())]
        return ", ".join(told) or "all requests"

    @admin.display(description="As of (UTC)")
    def as_of_utc(self, export: Export) -> str:
        return f"{export.as_of:%Y-%m-%d %H:%M:%S.%f}" if export.as_of else "-"

    @admin.display(description="Rows", ordering="rows")
    def number(self, export: Export) -> str:
        return f"{export.rows:,}"

    @admin.display(description="Size")
    def bytes(self, export: Export) -> str:
        return str(filesizeformat(export.size)) if export.file else "-"

    @admin.display(description="SHA-256")
    def checksum(self, export: Export) -> str:
        return format_html('<span class="report-hash">{}</span>', export.sha256 or "-")

    @admin.display(description="State", ordering="state")
    def how_it_ended(self, export: Export) -> str:
        text = label(str(export.get_state_display()), LEVELS[export.state], hint=export.trouble)
        share = progress_of(export)["share"]
        running = export.state == Export.State.RUNNING and share
        return format_html("{} {}%", text, share) if running else text

    @admin.display(description="File")
    def take(self, export: Export) -> str:
        if export.state != Export.State.DONE or not export.file:
            return "-"
        page = reverse("admin:usage_export_file", args=(export.pk,))
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>',
            page,
            export.format.upper(),
        )


def may_take(request: HttpRequest, export: Export) -> bool:
    """Whether one may have the file: it is for those who may see what it was made of."""
    return request.user.has_perms(("usage.view_export", "usage.add_export", SEEN[export.kind]))


def _days_of(export: Export) -> str:
    return f"{export.question.get('first_day')} to {export.question.get('last_day')}"


def progress_of(export: Export) -> dict[str, Any]:
    """How far an export is. `share` is in percent, and None where nobody knows."""
    share = None
    if export.state == Export.State.DONE:
        share = 100
    elif export.expected_rows:
        # What is expected is a guess, so that it never says that it is done before it is.
        share = min(100 * export.rows // export.expected_rows, 99)
    return {
        "state": export.state,
        "word": export.get_state_display(),
        "rows": f"{export.rows:,}",
        "share": share,
        "has_ended": export.state in (Export.State.DONE, Export.State.FAILED),
    }


def _sent(path: Path, content_type: str) -> StreamingHttpResponse:
    return StreamingHttpResponse(
        Download(partial(pieces_of, path)),
        content_type=content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{path.name}"',
            "Content-Length": str(path.stat().st_size),
        },
    )
