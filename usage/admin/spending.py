"""Pages beside the saved reports: where money goes, and the statements of teams."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.models import Team
from usage import as_of, definitions, insights, statements
from usage.models import ReportDefinition
from usage.pieces import NoReport

STATEMENT = "admin:usage_reportdefinition_statement"
PERIODS = [
    choice
    for choice in ReportDefinition.Period.choices
    if choice[0] != ReportDefinition.Period.FIXED
]


class PeriodForm(forms.Form):
    period = forms.ChoiceField(
        choices=PERIODS, initial="this_month", required=False, widget=UnfoldAdminSelectWidget
    )


class StatementForm(forms.Form):
    team = forms.ModelChoiceField(Team.objects.all(), widget=UnfoldAdminSelectWidget)
    month = forms.CharField(
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "2026-10"}), max_length=7
    )

    def clean_month(self) -> date:
        try:
            return statements.month_of(self.cleaned_data["month"])
        except NoReport as error:
            raise forms.ValidationError(str(error)) from error


def urls(admin: ModelAdmin) -> list[URLPattern]:
    """To stand in front of the admin's own."""
    pages: dict[str, Callable[..., HttpResponse]] = {
        "spending": partial(spending, admin),
        "statement": partial(statement, admin),
    }
    return [
        path(f"{name}/", admin.admin_site.admin_view(page), name=f"usage_reportdefinition_{name}")
        for name, page in pages.items()
    ]


def spending(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """The keys that cost the most, what was spent for nothing, and what is a guess."""
    _check(admin, request)
    form = PeriodForm(request.GET)
    chosen = form.cleaned_data["period"] if form.is_valid() else ""
    definition = ReportDefinition(period=chosen or ReportDefinition.Period.THIS_MONTH)
    days = definitions.days(definition, timezone.now().astimezone(UTC).date())
    context = {"form": PeriodForm(initial={"period": definition.period}), "days": days}
    return _page(admin, request, "spending", "Spending", context | _insights(*days))


def _insights(first: date, last: date) -> dict[str, Any]:
    try:
        moment = as_of.latest()
        return {
            "as_of": moment,
            "keys": insights.top_keys(first, last, moment),
            "wasted": insights.wasted(first, last),
            "guessed": insights.guessed(first, last, moment),
            "running_out": insights.running_out(timezone.now()),
        }
    except NoReport as error:
        return {"trouble": str(error)}


def statement(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Of a team and a month; without them, the form that asks for them."""
    _check(admin, request)
    form = StatementForm(request.GET or None, initial={"month": _last_month()})
    if not form.is_valid():
        return _page(admin, request, "statement_form", "Statement of a team", {"form": form})
    try:
        return _statement(request, form.cleaned_data["team"], form.cleaned_data["month"])
    except (NoReport, ValueError) as error:
        context = {"form": form, "trouble": str(error)}
        return _page(admin, request, "statement_form", "Statement of a team", context)


def _statement(request: HttpRequest, team: Team, month: date) -> HttpResponse:
    asked = request.GET.get("as_of")
    moment = as_of.settle(datetime.fromisoformat(asked) if asked else None)
    if not asked:
        # The address of a statement says which one it is: opened again, it is the same.
        told = {"team": team.pk, "month": f"{month:%Y-%m}", "as_of": moment.at.isoformat()}
        return HttpResponseRedirect(f"{reverse(STATEMENT)}?{urlencode(told)}")
    context = {"statement": statements.statement(team, month, moment)}
    return TemplateResponse(request, "usage/statement.html", context)


def _last_month() -> str:
    today = timezone.now().astimezone(UTC).date()
    period = ReportDefinition(period=ReportDefinition.Period.LAST_MONTH)
    return f"{definitions.days(period, today)[0]:%Y-%m}"


def _check(admin: ModelAdmin, request: HttpRequest) -> None:
    if not admin.has_view_permission(request):
        raise PermissionDenied


def _page(
    admin: ModelAdmin, request: HttpRequest, name: str, title: str, context: dict[str, Any]
) -> HttpResponse:
    around = {**admin.admin_site.each_context(request), "title": title, "opts": admin.opts}
    return TemplateResponse(request, f"usage/{name}.html", around | context)
