"""The log of requests in the admin: read from the newest on, however long it is."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter, DropdownFilter
from unfold.paginator import InfinitePaginator
from unfold.views import ChangeList

from registry.admin.labels import label
from usage import as_of, export_files, exports, selection
from usage.admin.parts import parts_of
from usage.admin.reading import DayFilter, ModelFilter, ReadOnlyAdmin
from usage.admin.report_forms import FileForm
from usage.as_of import NotSettled
from usage.downloads import Download
from usage.models import Export, UsageRecord, UsageRecordQuerySet
from usage.money import dollars, exact_dollars

LIST = "admin:usage_usagerecord_changelist"


class ServedModelFilter(ModelFilter):
    column = "model_served"


class RecordDayFilter(DayFilter):
    def queryset(self, request: HttpRequest, queryset: UsageRecordQuerySet) -> UsageRecordQuerySet:
        first, last = self.day("from"), self.day("to")
        if first:
            queryset = queryset.from_day(first)
        return queryset.until_day(last) if last else queryset


class OutcomeFilter(DropdownFilter):
    """How requests ended, in the words that people look for."""

    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("ok", "OK"),
            ("failed", "All errors"),
            ("timeout", "Time-outs"),
            ("upstream_cut", "Broken off by the upstream"),
            ("client_disconnected", "Client left"),
            ("interrupted", "Interrupted"),
        ]

    def queryset(self, request: HttpRequest, queryset: UsageRecordQuerySet) -> UsageRecordQuerySet:
        return selection.ended(queryset, str(self.value() or ""))


class NewestFirst(ChangeList):
    """No other order has an index, so none can be asked for."""

    def get_ordering(self, request: HttpRequest, queryset: UsageRecordQuerySet) -> list[str]:
        return ["-request_id"]


@admin.register(UsageRecord)
class UsageRecordAdmin(ReadOnlyAdmin):
    list_display = (
        "received",
        "key_name",
        "team_name",
        "asked_and_served",
        "provider_name",
        "attempts",
        "tokens",
        "cost",
        "latency",
        "result",
    )
    list_filter = (
        ("key", AutocompleteSelectFilter),
        ("team", AutocompleteSelectFilter),
        ServedModelFilter,
        OutcomeFilter,
        ("day", RecordDayFilter),
    )
    search_fields = ("request_id", "client_request_id")
    search_help_text = "A whole request id, Courier's or the client's"
    sortable_by = ()
    # It counts nothing: the log may have a billion rows.
    paginator = InfinitePaginator
    list_per_page = 50
    fieldsets = (
        ("Request", {"fields": (
            "request_id", "received", "operation", "streamed", "client_id", "labels",
        )}),
        ("Who", {"fields": ("key_name", "team_name", "user_name")}),
        ("Where", {"fields": (
            "model_asked", "model_served", "provider", "attempts", "configuration",
        )}),
        ("How it ended", {"fields": ("result", "end_reason", "status", "duration", "trace")}),
        ("Tokens", {"fields": (
            "input_tokens",
            "cached_input_tokens",
            "cache_write_tokens",
            "cache_write_1h_tokens",
            "audio_input_tokens",
            "output_tokens",
            "reasoning_tokens",
            "audio_output_tokens",
            "images",
            "search_units",
            "usage_source",
        )}),
        ("Cost", {"fields": ("exact_cost", "provider_cost", "markup", "price_used")}),
        ("Record", {"fields": ("recorded_at", "key_id", "team_id", "user_id")}),
    )  # fmt: skip
    change_form_outer_after_template = "usage/record_parts.html"

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self.export)
        to_file = self.admin_site.admin_view(self.export_to_file)
        return [
            path("export/", export, name="usage_usagerecord_export"),
            path("export-file/", to_file, name="usage_usagerecord_export_file"),
            *super().get_urls(),
        ]

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return NewestFirst

    def get_search_results(
        self, request: HttpRequest, queryset: UsageRecordQuerySet, search_term: str
    ) -> tuple[UsageRecordQuerySet, bool]:
        term = search_term.strip()
        return selection.searched(queryset, term) if term else queryset, False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        context = {"may_export": self.may_export(request), **(extra_context or {})}
        page: HttpResponseBase = super().changelist_view(request, context)
        return page

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context |= parts_of(kwargs["obj"])
        form: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return form

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """The records that the present filters leave, as CSV, while they are read."""
        if not self.may_export(request):
            raise PermissionDenied
        try:
            records = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(reverse(LIST))
        filters = {name: value for name, value in request.GET.items() if value}
        export = Export(requested_by_id=request.user.pk, filters=filters)
        return StreamingHttpResponse(
            Download(partial(exports.csv_of, records, export)),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{exports.file_name(filters)}"'},
        )

    def export_to_file(self, request: HttpRequest) -> HttpResponse:
        """Ask for the format; by POST, have the file made in the background."""
        if not self.may_export(request):
            raise PermissionDenied
        filters = {name: value for name, value in request.GET.items() if value}
        form = FileForm(request.POST or None)
        try:
            selection.selected(filters)
            if form.is_valid():
                return self._order(request, filters, form.cleaned_data["format"])
        except (selection.UnknownFilter, NotSettled) as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(f"{reverse(LIST)}?{request.GET.urlencode()}")
        context = {**self.admin_site.each_context(request), "title": "Export to a file"}
        context |= {"form": form, "filters": sorted(filters.items()), "opts": self.opts}
        return TemplateResponse(request, "usage/export_to_file.html", context)

    def _order(self, request: HttpRequest, filters: dict[str, Any], format: str) -> HttpResponse:
        export = export_files.order(
            kind=Export.Kind.REQUESTS,
            format=format,
            filters=filters,
            as_of=as_of.settle().at,
            expected_rows=selection.about_how_many(filters),
            requested_by_id=request.user.pk,
        )
        return HttpResponseRedirect(reverse("admin:usage_export_change", args=(export.pk,)))

    def may_export(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("usage.add_export")

    @admin.display(description="Received (UTC)")
    def received(self, record: UsageRecord) -> str:
        return f"{record.started_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="Model, operation")
    def asked_and_served(self, record: UsageRecord) -> str:
        asked, served = record.model_asked, record.model_served
        model = f"{asked} → {served}" if served and served != asked else asked
        return format_html('<div>{}</div><div class="text-xs">{}</div>', model, record.operation)

    @admin.display(description="Tokens in / out")
    def tokens(self, record: UsageRecord) -> str:
        counted = (("image", record.images), ("search unit", record.search_units))
        beside = [f"{n:,} {thing}{'s' if n > 1 else ''}" for thing, n in counted if n]
        return ", ".join([f"{record.input_tokens:,} / {record.output_tokens:,}", *beside])

    @admin.display(description="Cost")
    def cost(self, record: UsageRecord) -> str:
        about = "≈ " if record.usage_source == UsageRecord.Source.ESTIMATED else ""
        return about + dollars(record.cost_nano) if record.cost_nano is not None else "unknown"

    @admin.display(description="Latency (first)")
    def latency(self, record: UsageRecord) -> str:
        first = record.first_token_ms
        return seconds(record.total_ms) + (f" ({seconds(first)})" if first is not None else "")

    @admin.display(description="Outcome")
    def result(self, record: UsageRecord) -> str:
        match record.outcome:
            case "ok":
                return label("ok", "success")
            case "client_disconnected":
                return label("client left", "warning")
        return label(
            record.outcome.replace("_", " "), "danger", hint=str(record.get_end_reason_display())
        )

    @admin.display(description="The client's own id")
    def client_id(self, record: UsageRecord) -> str:
        return record.client_request_id or "-"

    @admin.display(description="Provider")
    def provider(self, record: UsageRecord) -> str:
        return f"{record.provider_name} / {record.upstream_model}" if record.provider_name else "-"

    @admin.display(description="Duration")
    def duration(self, record: UsageRecord) -> str:
        first = record.first_token_ms
        whole = f"{record.total_ms:,} ms"
        return whole if first is None else f"{whole}, the first token after {first:,} ms"

    @admin.display(description="Trace id")
    def trace(self, record: UsageRecord) -> str:
        return record.trace_id or "-"

    @admin.display(description="Cost")
    def exact_cost(self, record: UsageRecord) -> str:
        return exact_dollars(record.cost_nano)

    @admin.display(description="The provider's cost")
    def provider_cost(self, record: UsageRecord) -> str:
        return exact_dollars(record.provider_cost_nano)

    @admin.display(description="Markup")
    def markup(self, record: UsageRecord) -> str:
        return f"{record.markup_bp / 100:+g} %" if record.markup_bp else "none"

    @admin.display(description="Revision of the configuration")
    def configuration(self, record: UsageRecord) -> str:
        if not record.revision:
            return "unknown"
        page = reverse("admin:registry_recordedrevision_change", args=(record.revision,))
        return format_html('<a class="underline" href="{}">{}</a>', page, record.revision)

    @admin.display(description="Price")
    def price_used(self, record: UsageRecord) -> str:
        if record.price_id is None:
            return "none"
        page = reverse("admin:registry_price_change", args=(record.price_id,))
        return format_html('<a class="underline" href="{}">{}</a>', page, record.price_id)

    @admin.display(description="Tags")
    def labels(self, record: UsageRecord) -> str:
        return record.tags.replace(",", ", ") or "-"


def seconds(milliseconds: int) -> str:
    """Two digits that matter: 0.23 s, 4.5 s, 120 s."""
    value = milliseconds / 1000
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s" if value < 100 else f"{value:.0f} s"
