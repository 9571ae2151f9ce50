""" "Send a test request": one tiny question to a provider or a model, from the admin."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminTextInputWidget

from gateway import attempt, failover, routing
from gateway.attempt import WholeAnswer
from gateway.dialects.base import ClientDialect, Json
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.errors import UpstreamError
from gateway.failover import Attempts
from gateway.question import Question
from gateway.routing import Manner
from gateway.standing import Now
from lib.errors import CourierError
from lib.tokens import TokenUsage
from registry import snapshot
from registry.models import Provider, ServedModel
from registry.snapshot import Target

#: Seconds until the first byte of an answer, over all attempts.
PATIENCE_S = 30.0
MAX_TOKENS = 16
#: Characters shown of the answer.
SHOWN = 200


@dataclass(slots=True)
class Outcome:
    """What came of a test. Of an upstream's words it holds only the answer and scrubbed errors."""

    #: Why there is no answer, if there is none.
    failure: str = ""
    answer: str = ""
    usage: TokenUsage | None = None
    elapsed_ms: int = 0
    tried: list[tuple[Target, UpstreamError | None]] = field(default_factory=list)


class UpstreamModelForm(forms.Form):
    """Which model to ask a provider for."""

    upstream_model = forms.CharField(
        label="Upstream model",
        max_length=200,
        help_text="The provider's own name for a model, such as gpt-4o-mini.",
        widget=UnfoldAdminTextInputWidget,
    )


@require_POST
def probe_provider(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask a provider, with each of its usable keys until one is answered."""
    provider = get_object_or_404(Provider, pk=pk)
    _require_change(request, provider)
    form = UpstreamModelForm(_model_to_ask(request, provider))
    outcome = None
    if form.is_valid():
        targets = snapshot.targets_to(provider, form.cleaned_data["upstream_model"])
        outcome = async_to_sync(ask)(targets, len(targets))
    return _page(request, provider, outcome, form)


def _model_to_ask(request: HttpRequest, provider: Provider) -> dict[str, str] | None:
    """What was entered, or what a route of the provider names; None if neither is there."""
    if "upstream_model" in request.POST:
        return {"upstream_model": request.POST["upstream_model"]}
    route = provider.routes.order_by("-enabled", "priority", "pk").first()
    return {"upstream_model": route.upstream_model} if route else None


@require_POST
def probe_model(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask the routes of a model, as a client's request would."""
    model = get_object_or_404(ServedModel, pk=pk)
    _require_change(request, model)
    loaded = snapshot.load(revision=0).models.get(model.name)
    targets = loaded.targets if loaded else ()
    return _page(request, model, async_to_sync(ask)(targets, model.max_attempts), None)


def _require_change(request: HttpRequest, row: Provider | ServedModel) -> None:
    """A test costs a little money: who may change such rows may send one."""
    if not request.user.has_perm(f"registry.change_{row._meta.model_name}"):
        raise PermissionDenied


async def ask(targets: Sequence[Target], most: int) -> Outcome:
    """Ask the targets in their order. Breakers are neither heeded nor told."""
    if not targets:
        return Outcome(failure="There is nothing to ask: no enabled route with a usable key.")
    now = asyncio.get_running_loop().time
    began_at = now()
    attempts = Attempts(most=most, deadline=began_at + PATIENCE_S)
    ordered = routing.order(targets, Manner(), Now(lambda target: None), routing.drawn)
    question = _question(ordered[0])
    try:
        asked = partial(attempt.whole_answer, question)
        outcome = _answered(question, await failover.first_success(ordered, asked, attempts))
    except CourierError as error:
        outcome = Outcome(failure=error.message)
    outcome.elapsed_ms = round((now() - began_at) * 1000)
    outcome.tried = attempts.log
    return outcome


def _question(target: Target) -> Question:
    """One that its model can answer, as far as its name tells."""
    if "embed" in target.upstream_model.lower():
        dialect: ClientDialect = openai_embeddings
        body: Json = {"model": "test", "input": "Say hello."}
    else:
        dialect = openai_chat
        messages = [{"role": "user", "content": "Say hello."}]
        body = {"model": "test", "messages": messages, "max_tokens": MAX_TOKENS}
    return Question(dialect, "test", orjson.dumps(body), body)


def _answered(question: Question, whole: WholeAnswer) -> Outcome:
    body = orjson.loads(whole.content)
    if question.dialect is openai_embeddings:
        answer = f"A vector of {len(body['data'][0]['embedding'])} numbers."
    else:
        answer = openai_chat.text_in(body)
    return Outcome(answer=answer[:SHOWN], usage=whole.usage)


def _page(
    request: HttpRequest,
    row: Provider | ServedModel,
    outcome: Outcome | None,
    form: UpstreamModelForm | None,
) -> HttpResponse:
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": f"Test request to {row}",
        "row": row,
        "back": reverse(f"admin:registry_{row._meta.model_name}_change", args=(row.pk,)),
        "outcome": outcome,
        "form": form,
    }
    return TemplateResponse(request, "admin/probe.html", context)
