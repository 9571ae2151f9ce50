"""Pages of the admin that tell why: of a request that was made, and of one that is imagined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import orjson
from asgiref.sync import async_to_sync
from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from accounts.models import ApiKey, RateLimit
from gateway import simulation, story
from gateway.decision import Told
from gateway.simulation import ENDPOINTS, MOST_TOKENS, Foreseen, Imagined
from gateway.story import Call, Cell, Facts, Link, Step
from registry.models import ServedModel, UpstreamKey
from usage.models import Decision, UsageAttempt, UsageRecord

#: Names of models that are offered while one is typed.
MOST_OFFERED = 500
#: Where a form's values are kept between its fields and what is imagined.
AS_THEY_ARE = ("model", "endpoint", "tags", "session", "streams")


class MomentWidget(UnfoldAdminTextInputWidget):
    """The browser's own: the theme's needs two fields and Django's translations."""

    input_type = "datetime-local"


class SimulationForm(forms.Form):
    """A request that nobody has made."""

    key = forms.ModelChoiceField(
        ApiKey.objects.all(),
        label="API key",
        widget=AutocompleteSelect(RateLimit._meta.get_field("key"), admin.site),
    )
    endpoint = forms.ChoiceField(
        choices=[(name, endpoint.label) for name, endpoint in ENDPOINTS.items()],
        widget=UnfoldAdminSelectWidget,
    )
    model = forms.CharField(
        max_length=200,
        required=False,
        help_text="As a client would name it: a model, an alias, or what fits a wildcard. "
        "A pasted body says it itself.",
        widget=UnfoldAdminTextInputWidget(attrs={"list": "models", "autocomplete": "off"}),
    )
    input_tokens = forms.IntegerField(
        min_value=1, max_value=MOST_TOKENS, initial=100, widget=UnfoldAdminIntegerFieldWidget
    )
    output_tokens = forms.IntegerField(
        label="Output tokens at most",
        min_value=0,
        max_value=MOST_TOKENS,
        initial=0,
        help_text="0: the request names no bound.",
        widget=UnfoldAdminIntegerFieldWidget,
    )
    streams = forms.BooleanField(
        label="As a stream", required=False, widget=UnfoldBooleanSwitchWidget
    )
    tags = forms.CharField(
        required=False, help_text="With commas between.", widget=UnfoldAdminTextInputWidget
    )
    session = forms.CharField(
        required=False,
        max_length=128,
        help_text="What the client calls the session, for models that keep sessions together.",
        widget=UnfoldAdminTextInputWidget,
    )
    moment = forms.DateTimeField(
        label="When (UTC)",
        required=False,
        help_text="For prices and policies. Limits and budgets are those of now.",
        widget=MomentWidget,
    )
    body = forms.CharField(
        label="The request's body",
        required=False,
        strip=False,
        help_text="JSON, instead of the sizes above. It is read here, and kept nowhere.",
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 6, "spellcheck": "false", "class": "described-text"}
        ),
    )

    def clean(self) -> dict[str, Any]:
        told: dict[str, Any] = super().clean() or self.cleaned_data
        if not told.get("model") and not told.get("body", "").strip():
            self.add_error("model", "Name a model, or paste a body that does.")
        return told

    def imagined(self) -> Imagined:
        """What the form says. It must be valid."""
        told = self.cleaned_data
        return Imagined(
            key=told["key"],
            input_tokens=told["input_tokens"],
            output_tokens=told["output_tokens"],
            body=told["body"].encode() if told["body"].strip() else None,
            moment=told["moment"],
            **{name: told[name] for name in AS_THEY_ARE},
        )


def why(request: HttpRequest, request_id: UUID) -> HttpResponse:
    """Why a request went as it did."""
    record, row = _made(request_id)
    if not _may_see(request, record):
        raise PermissionDenied
    if record is None and row is None:
        raise Http404("There is no request with this id, or it is kept no longer.")
    told = read(row.told) if row else None
    facts = _facts_of(record, told or {}) if record else _facts_of_refusal(row, told or {})
    context = {
        "title": "Why this request went as it did",
        "request_id": request_id,
        "record": record,
        "told": told,
        "steps": shown(story.steps_of(told, facts), request) if told else None,
        "keeps_for": settings.COURIER_KEEP_DECISIONS_DAYS,
        "may_simulate": _may_simulate(request),
    }
    return _page(request, "admin/why.html", context)


def simulate(request: HttpRequest) -> HttpResponse:
    """What would become of a request."""
    if not _may_simulate(request):
        raise PermissionDenied
    form = SimulationForm(request.POST or None, initial=_initial(request))
    context: dict[str, Any] = {
        "title": "What would happen",
        "form": form,
        "models": ServedModel.objects.order_by("name").values_list("name", flat=True)[
            :MOST_OFFERED
        ],
        "view_of": view_of(),
    }
    if form.is_valid():
        imagined = form.imagined()
        foreseen = async_to_sync(simulation.foresee)(imagined)
        context["steps"] = shown(steps_of(imagined, foreseen), request)
        context["refusal"] = foreseen.refusal
        context["answer"] = pretty(foreseen.refusal.content) if foreseen.refusal else ""
    return _page(request, "admin/simulate.html", context)


def steps_of(imagined: Imagined, foreseen: Foreseen) -> list[Step]:
    """The steps of an imagined request."""
    key, judgment = imagined.key, foreseen.judgment
    question = judgment.question if judgment else None
    facts = Facts(
        key=Link(key.name, "accounts.apikey", key.pk),
        team=Link(key.team.name, "accounts.team", key.team_id),
        operation=imagined.endpoint,
        model_asked=question.model if question else imagined.model,
        key_names=_key_names(foreseen.told),
    )
    return story.steps_of(foreseen.told, facts)


def read(told: str) -> Told | None:
    """A decision as it was written down; None if it cannot be read."""
    try:
        found = orjson.loads(told)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def pretty(content: bytes) -> str:
    return orjson.dumps(orjson.loads(content), option=orjson.OPT_INDENT_2).decode()


def view_of() -> str:
    """Whose view a simulation is."""
    counted = "shared by all instances" if settings.REDIS_URL else "those of this process"
    if settings.COURIER_ROLE != "all":
        return (
            f"This process serves no requests. Limits and budgets are {counted}; of breakers, "
            "keys and latency it knows only what instances share."
        )
    return f"This is the live state of this process; limits and budgets are {counted}."


def shown(steps: Iterable[Step], request: HttpRequest) -> list[dict[str, Any]]:
    """Steps as the template takes them: links lead only where this user may go."""

    def cell(each: Cell) -> dict[str, str]:
        if not isinstance(each, Link):
            return {"text": each}
        app, model = each.model.split(".")
        if not request.user.has_perm(f"{app}.view_{model}"):
            return {"text": each.text}
        return {"text": each.text, "url": reverse(f"admin:{app}_{model}_change", args=(each.pk,))}

    return [
        {
            "title": step.title,
            "mark": step.mark.value,
            "said": step.said,
            "links": list(map(cell, step.links)),
            "tables": [
                {
                    **asdict(table),
                    "rows": [zip(table.columns, map(cell, row), strict=True) for row in table.rows],
                }
                for table in step.tables
            ],
        }
        for step in steps
    ]


def _made(request_id: UUID) -> tuple[UsageRecord | None, Decision | None]:
    """What is kept of a request."""
    record = UsageRecord.objects.filter(pk=request_id).first()
    return record, Decision.objects.filter(pk=request_id).first()


def _may_see(request: HttpRequest, record: UsageRecord | None) -> bool:
    """A request that is not in the log is one that was refused."""
    return request.user.has_perm(f"usage.view_{'usagerecord' if record else 'decision'}")


def _may_simulate(request: HttpRequest) -> bool:
    return request.user.has_perms(["accounts.view_apikey", "registry.view_servedmodel"])


def _initial(request: HttpRequest) -> dict[str, Any]:
    """What is asked to be filled in: the facts of an old request, or a key and a model."""
    told = {name: request.GET[name] for name in ("key", "model") if name in request.GET}
    try:
        request_id = UUID(request.GET.get("request", ""))
    except ValueError:
        return told
    record, row = _made(request_id)
    source: UsageRecord | Decision | None = record or row
    if source is None or not _may_see(request, record):
        return told
    tokens = ((read(row.told) if row else None) or {}).get("tokens", [100, 0])
    return {
        "key": source.key_id,
        "endpoint": source.operation,
        "model": source.model_asked,
        "input_tokens": tokens[0],
        "output_tokens": tokens[1],
        "streams": record.streamed if record else False,
        "tags": record.tags if record else "",
    }


def _facts_of(record: UsageRecord, told: Told) -> Facts:
    attempts = list(UsageAttempt.objects.filter(request_id=record.pk).order_by("number"))
    names = _key_names(told, [each.upstream_key_id for each in attempts])
    return Facts(
        key=Link(record.key_name, "accounts.apikey", record.key_id),
        team=Link(record.team_name, "accounts.team", record.team_id),
        operation=record.operation,
        model_asked=record.model_asked,
        key_names=names,
        calls=[_call(each, names) for each in attempts],
        outcome=record.outcome,
        end_reason=str(record.get_end_reason_display()),
        cost_nano=record.cost_nano,
    )


def _facts_of_refusal(row: Decision | None, told: Told) -> Facts:
    assert row is not None  # noqa: S101  # for the type checker
    return Facts(
        key=Link(row.key_name, "accounts.apikey", row.key_id or 0),
        team=Link(row.team_name, "accounts.team", row.team_id or 0),
        operation=row.operation,
        model_asked=row.model_asked,
        key_names=_key_names(told),
    )


def _call(attempt: UsageAttempt, names: dict[int, str]) -> Call:
    pk = attempt.upstream_key_id
    return Call(
        provider_name=attempt.provider_name,
        upstream_model=attempt.upstream_model,
        key_name=names.get(pk, f"key {pk}") if pk else "none needed",
        outcome=attempt.outcome,
        received=attempt.received,
        total_ms=attempt.total_ms,
        cost_nano=attempt.cost_nano,
        sent=attempt.calls,
    )


def _key_names(told: Told, others: Sequence[int | None] = ()) -> dict[int, str]:
    """The names of all upstream keys that a decision names."""
    named = [each[1] for part in ("targets", "dropped") for each in told.get(part, ())]
    found = UpstreamKey.objects.filter(pk__in={*named, *others})
    return dict(found.values_list("pk", "name"))


def _page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    return TemplateResponse(request, template, {**admin.site.each_context(request), **context})
