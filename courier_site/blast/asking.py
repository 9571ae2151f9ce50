"""Asks before a form of the admin takes something from those who are served.

The form is carried out, its effect looked at, and undone, unless it does no harm or people have
seen what it does. So whatever does it (a form, a bulk action, a deletion), nothing is missed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django import forms
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.messages.storage import default_storage
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminTextInputWidget

from courier_site.blast import impact, state
from courier_site.blast.impact import Impact
from registry import revisions
from registry.admin.confirming import Asked, Question
from registry.models import RecordedRevision
from registry.revisions import made_by

View = Callable[..., HttpResponse]
#: How the names of pages begin whose forms change the configuration.
CONFIGURING = ("registry_", "accounts_")
SEEN = "impact_seen"
REASON = "impact_reason"
#: Fields of a form that the page writes anew.
OWN = frozenset({SEEN, REASON, ACTION_CHECKBOX_NAME, "csrfmiddlewaretoken", "confirmed", "action"})

#: What Django's own pages and its action do.
FORMS = {
    "add": "Add",
    "change": "Change",
    "changelist": "Change",
    "delete": "Delete",
    "delete_selected": "Delete",
}
#: Where forms that ask for a reason have it.
WHY = "why"


class MustAsk(Exception):
    """What the form did is undone, and this is asked first."""

    def __init__(self, found: Impact) -> None:
        super().__init__()
        self.found = found


class ReasonForm(forms.Form):
    """Why, for the history and for the revision."""

    impact_reason = forms.CharField(
        label="Reason",
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="It goes into the history, and the note of the revision.",
    )

    def __init__(self, *args: Any, is_needed: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[REASON].required = is_needed


def asking_first(view: View) -> View:
    """The same view. What a form of it changes is one revision, and is asked for if it hurts."""

    @functools.wraps(view)
    def asking(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not _may_change_configuration(request):
            return view(request, *args, **kwargs)
        try:
            with made_by(RecordedRevision.Origin.ADMIN, request.user.get_username()):
                return carry_out(request, lambda: view(request, *args, **kwargs))
        except MustAsk as asked:
            return page(request, asked.found)

    return asking


def _may_change_configuration(request: HttpRequest) -> bool:
    where = request.resolver_match
    return request.method == "POST" and str(where and where.url_name).startswith(CONFIGURING)


def carry_out(request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
    """The answer of `view`. Raises MustAsk where people have to see first what it does."""
    before = state.now()
    answer = view()
    taken = state.harm(before, state.now())
    if not taken:
        return answer
    found = impact.impact_of(taken)
    reason = request.POST.get(REASON, "").strip()
    if found.is_worth_asking and (SEEN not in request.POST or (found.blocks and not reason)):
        raise MustAsk(found)
    if reason:
        _explain(request, reason)
    return answer


def page(request: HttpRequest, found: Impact) -> HttpResponse:
    """Shows who is hit, and sends the form again if that is wanted."""
    model = _model_of(request)
    is_sent = SEEN in request.POST
    question = Question(
        verb=_verb(request),
        noun=str(model._meta.verbose_name),
        consequence="It takes something from those who are served now.",
        variant="danger",
        form=ReasonForm(
            request.POST if is_sent else None,
            initial={REASON: request.POST.get(WHY, "")},
            is_needed=found.blocks,
        ),
        details=impact.told(found),
        kept=[*_kept(request), (SEEN, "yes")],
    )
    context = {
        **admin.site.each_context(request),
        "opts": model._meta,
        "title": f"{question.verb}: {model._meta.verbose_name_plural}",
        "question": question,
        "rows": [Asked(row.pk, str(row), "") for row in _rows(request)],
        "action": request.POST.get("action", ""),
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
        "list_url": f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist",
        "media": forms.Media(),
    }
    _forget_messages(request)
    return TemplateResponse(request, "registry/confirm.html", context)


def _kept(request: HttpRequest) -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, values in request.POST.lists()
        for value in values
        if name not in OWN
    ]


def _model_of(request: HttpRequest) -> type[Model]:
    where = request.resolver_match
    app, name = str(where and where.url_name).split("_")[:2]
    return apps.get_model(app, name)


def _verb(request: HttpRequest) -> str:
    """What the button said that was pressed."""
    where = request.resolver_match
    _, _, of_page = str(where and where.url_name).split("_", 2)
    action = request.POST.get("action") or of_page.removesuffix("_one")
    if action in FORMS:
        return FORMS[action]
    return action.replace("_", " ").capitalize()


def _rows(request: HttpRequest) -> list[Model]:
    """What the form is about; nothing while it is new."""
    where = request.resolver_match
    one = str(where.kwargs.get("object_id", "")) if where else ""
    numbers = request.POST.getlist(ACTION_CHECKBOX_NAME) or [one]
    chosen = [number for number in numbers if number.isdecimal()]
    return list(_model_of(request)._default_manager.filter(pk__in=chosen))


def _explain(request: HttpRequest, reason: str) -> None:
    """Write the reason into the revision, and into the history of what is still there."""
    revisions.explain(reason)
    rows = _rows(request)
    if rows and request.user.pk:
        LogEntry.objects.log_actions(
            request.user.pk, rows, CHANGE, change_message=f"Although it was in use: {reason}"
        )


def _forget_messages(request: HttpRequest) -> None:
    """What the form said of itself did not come to pass."""
    request._messages = default_storage(request)  # type: ignore[attr-defined]
