"""GET /v1/billing/usage and /v1/billing/budget: a key's own figures."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import orjson
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router

from accounts.budgets import BudgetState
from accounts.principals import Principal
from accounts.states import budget_states
from gateway import errors, ledger_reads
from gateway.api.request import request_of
from gateway.dialects.base import Json
from usage import as_of, reports
from usage.as_of import NotSettled
from usage.models import Measures
from usage.pieces import NoReport
from usage.report_questions import Question
from usage.reports import Report

router = Router(tags=["billing"])

DIMENSIONS = ("day", "model", "tag")
MOST_DAYS = 366
#: What Courier itself pays is no business of those who are charged.
TOLD = [name for name in Measures.SUMS if not name.startswith(("provider_", "estimated_"))]


@router.get("/billing/usage")
async def describe_usage(request: HttpRequest) -> HttpResponse:
    question = _question(request, request_of(request).principal)
    try:
        report = await ledger_reads.read(lambda: reports.report(question, as_of.latest()))
    except NotSettled as error:
        raise errors.LedgerUnavailable from error
    except NoReport as error:
        raise errors.BadRequest(str(error), param="from") from error
    return _json(_described(report))


@router.get("/billing/budget")
async def describe_budget(request: HttpRequest) -> HttpResponse:
    states = await budget_states(request_of(request).principal)
    return _json({"object": "list", "data": [_budget(state) for state in states]})


def _question(request: HttpRequest, principal: Principal) -> Question:
    by = request.GET.get("by") or "day"
    if by not in DIMENSIONS:
        raise errors.BadRequest(f"by must be one of {', '.join(DIMENSIONS)}.", param="by")
    today = timezone.now().astimezone(ZoneInfo(principal.time_zone)).date()
    first = _day(request, "from", today.replace(day=1))
    last = _day(request, "to", max(today, first))
    if last < first:
        raise errors.BadRequest("to must not be before from.", param="to")
    if last - first >= timedelta(days=MOST_DAYS):
        raise errors.BadRequest(f"Ask for at most {MOST_DAYS} days.", param="from")
    filters = {"key": [principal.key_id]}
    return Question((by,), first, last, principal.time_zone, filters)


def _day(request: HttpRequest, name: str, default: date) -> date:
    told = request.GET.get(name)
    if not told:
        return default
    try:
        # Of the forms that Python reads, only this one; and of its years, none at the edge.
        day = datetime.strptime(told, "%Y-%m-%d").date()
    except ValueError:
        day = date.min
    if not 2000 <= day.year < 3000:
        raise errors.BadRequest(f"{name} must be a day such as 2026-11-01.", param=name)
    return day


def _described(report: Report) -> Json:
    question = report.question
    (by,) = question.dimensions
    return {
        "object": "billing.usage",
        "from": str(question.first_day),
        "to": str(question.last_day),
        "time_zone": question.time_zone,
        "by": by,
        "as_of": report.as_of.at.isoformat(),
        "data": [{by: line.names[0], **_figures(line.sums)} for line in report.lines],
        # A request with two tags is in two lines: their sum would be no total.
        "total": None if by == "tag" else _figures(report.totals),
    }


def _figures(sums: dict[str, int]) -> Json:
    figures: Json = {name: sums[name] for name in TOLD}
    return figures | {"cost_usd": _dollars(sums["cost_nano"])}


def _budget(state: BudgetState) -> Json:
    scope, _, _ = state.scope.partition(":")
    return {
        "object": "billing.budget",
        "scope": scope,
        "period": state.period,
        "rolling": state.is_rolling,
        "hard": state.hard,
        "amount_usd": _dollars(state.amount_nano),
        "spent_usd": _dollars(state.spent_nano),
        "reserved_usd": _dollars(state.reserved_nano),
        "remaining_usd": _dollars(state.remaining_nano),
        "resets_at": state.resets_at.isoformat() if state.resets_at else None,
    }


def _dollars(nano: int | None) -> str | None:
    """Exact, as text: a JSON number would be read as a float. None is unknown."""
    return None if nano is None else f"{Decimal(nano).scaleb(-9):.9f}"


def _json(body: Json) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), content_type="application/json")
