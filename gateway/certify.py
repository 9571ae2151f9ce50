"""Orders certifications in the admin: says what they cost, asks, and hands them to a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from gateway import certification
from gateway.certification import Quote
from gateway.conformance import AT_ONCE, PROVOKING
from registry.models import Certification, Provider, Route, ServedModel
from usage.money import dollars

Row = Provider | ServedModel | Route


class CertifyForm(forms.Form):
    """What is to be certified, and how far that may go."""

    upstream_model = forms.CharField(
        label="Upstream model",
        max_length=200,
        help_text="The provider's own name for a model, such as gpt-4o-mini.",
        widget=UnfoldAdminTextInputWidget,
    )
    task = forms.ChoiceField(
        label="Task",
        choices=Certification.Task.choices,
        initial=Certification.Task.CHAT,
        help_text="Models for embeddings are asked other questions.",
        widget=UnfoldAdminSelectWidget,
    )
    provokes = forms.BooleanField(
        label="Provoke the rate limit",
        required=False,
        help_text=f"Sends up to {PROVOKING} short requests, {AT_ONCE} at a time, until the "
        "provider refuses. Requests of clients may be refused meanwhile.",
        widget=UnfoldBooleanSwitchWidget,
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """A run that would be made, and what it would cost."""

    provider: Provider
    upstream_model: str
    quote: Quote

    @property
    def tokens(self) -> tuple[str, str]:
        return f"{self.quote.input_tokens:,}", f"{self.quote.output_tokens:,}"

    @property
    def cost(self) -> str:
        return dollars(self.quote.cost_nano)


@require_POST
def certify_provider(request: HttpRequest, pk: int) -> HttpResponse:
    """Certify a model of a provider's."""
    provider = get_object_or_404(Provider, pk=pk)
    routes = provider.routes.order_by("-enabled", "priority", "pk").values_list(
        "upstream_model", flat=True
    )
    named = request.POST.get("upstream_model") or next(iter(routes), "")
    return _certify(request, provider, [(provider, named)], CertifyForm)


@require_POST
def certify_model(request: HttpRequest, pk: int) -> HttpResponse:
    """Certify whatever the routes of a model lead to."""
    model = get_object_or_404(ServedModel, pk=pk)
    return _certify(request, model, _places(model.routes.filter(enabled=True)), _WithoutName)


@require_POST
def certify_route(request: HttpRequest, pk: int) -> HttpResponse:
    """Certify what a route leads to."""
    route = get_object_or_404(Route, pk=pk)
    return _certify(request, route, _places([route]), _WithoutName)


class _WithoutName(CertifyForm):
    upstream_model = None  # type: ignore[assignment]  # Django's way to leave a field out


def _places(routes: Any) -> list[tuple[Provider, str]]:
    found = {(route.provider_id, route.upstream_model): route for route in routes}
    return [(route.provider, route.upstream_model) for route in found.values()]


def _certify(
    request: HttpRequest, row: Row, places: Sequence[tuple[Provider, str]], form_of: type[Any]
) -> HttpResponse:
    """Ask first; once that is confirmed, order."""
    if not request.user.has_perm("registry.change_provider"):
        raise PermissionDenied
    if request.POST.get("confirmed"):
        form = form_of(request.POST)
        if form.is_valid():
            if "upstream_model" in form.cleaned_data:
                places = [(places[0][0], form.cleaned_data["upstream_model"])]
            return _order(request, row, places, form.cleaned_data)
    else:
        name = places[0][1] if places else ""
        task = Certification.Task.EMBEDDINGS if "embed" in name else Certification.Task.CHAT
        form = form_of(initial={"upstream_model": name, "task": task})
    return _page(request, row, places, form)


def _order(
    request: HttpRequest,
    row: Row,
    places: Sequence[tuple[Provider, str]],
    asked: dict[str, Any],
) -> HttpResponse:
    """Order a run for each place, unless one is under way there."""
    runs = []
    for provider, name in places:
        what = {"provider": provider, "upstream_model": name, "task": asked["task"]}
        run = Certification.objects.filter(**what, finished_at=None).first()
        runs.append(
            run
            or Certification.objects.create(
                **what, provokes=asked["provokes"], asked_by=request.user.get_username()
            )
        )
    if not runs:
        messages.warning(request, "There is nothing to certify: no route is switched on.")
        return HttpResponseRedirect(_page_of(row))
    ordered = "It was ordered." if len(runs) == 1 else f"{len(runs)} runs were ordered."
    messages.success(request, f"{ordered} A worker takes a run up within seconds.")
    if len(runs) == 1:
        return HttpResponseRedirect(_page_of(runs[0]))
    return HttpResponseRedirect(reverse("admin:registry_certification_changelist"))


def _page(
    request: HttpRequest, row: Row, places: Sequence[tuple[Provider, str]], form: forms.Form
) -> HttpResponse:
    task = form["task"].value()
    offers = [
        Offer(provider, name, certification.quote(provider, name, task, provokes=False))
        for provider, name in places
        if name and task in Certification.Task.values
    ]
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": f"Certify {row}",
        "row": row,
        "back": _page_of(row),
        "offers": offers,
        "form": form,
    }
    return TemplateResponse(request, "admin/certify.html", context)


def _page_of(row: Row | Certification) -> str:
    return reverse(f"admin:registry_{row._meta.model_name}_change", args=(row.pk,))
