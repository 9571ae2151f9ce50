"""A column that says when the budgets of keys and teams will be used up."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.views import ChangeList

from accounts import outlook
from registry.admin.labels import label

#: What others spend is not for everyone who may see their keys.
NEEDED = "usage.view_dailyusage"


class OutlookList(ChangeList):
    """Looks ahead once for the page, not for each row."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not request.user.has_perm(NEEDED):
            return
        outlooks = outlook.of(list(self.result_list))
        for row in self.result_list:
            row.outlook = outlooks.get(row.pk)


class LooksAhead:
    """A part of the admins of keys and teams, whose lists have the column `runs_out`."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return OutlookList

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)  # type: ignore[misc]
        if request.user.has_perm(NEEDED):
            return columns
        return [column for column in columns if column != "runs_out"]

    @admin.display(description="Budget runs out")
    def runs_out(self, row: Any) -> str:
        ahead: outlook.Outlook | None = getattr(row, "outlook", None)
        if ahead is None:
            return "no budget"
        return label(ahead.runs_out, "danger" if ahead.is_short else "plain", hint=ahead.used)
