"""A page that asks before something is done: to which rows, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import ModelAdmin
from unfold.decorators import action

Method = TypeVar("Method", bound=Callable[..., HttpResponse])


def button(description: str, icon: str, permission: str) -> Callable[[Method], Method]:
    """A button on the page of one row, for those with `has_<permission>_permission`."""
    decorator: Callable[[Method], Method] = action(
        description=description, icon=icon, permissions=(permission,)
    )
    return decorator


@dataclass(frozen=True, slots=True)
class Asked:
    """One row in question."""

    pk: int
    name: str
    detail: str
    #: What it was like when the page was made: a page sent twice must not act twice.
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What would be done, and what that means for those who use the rows."""

    #: What is asked, up to the rows, such as "End the raises of".
    verb: str
    #: What the rows are: "key", "team".
    noun: str
    consequence: str
    variant: Literal["primary", "danger"] = "primary"
    form: forms.BaseForm | None = None
    #: What the button says, if that is not the verb.
    button: str = ""
    #: Whether some of the rows come from a manifest.
    managed: bool = False
    #: What it means in figures.
    details: SafeString = SafeString()
    #: Fields of the form that brought people here, to be sent again with their yes.
    kept: Sequence[tuple[str, str]] = ()


Look = Callable[[type[Model], Sequence[int]], SafeString]
_looks: list[Look] = []


def on_danger(look: Look) -> None:
    """Have `look` say who is affected by what would be done to rows, by their numbers.

    Who uses what is known above.
    """
    if look not in _looks:
        _looks.append(look)


class Confirming(ModelAdmin):
    """A part of admins whose actions are asked for twice."""

    def ask(self, request: HttpRequest, question: Question, rows: Sequence[Asked]) -> HttpResponse:
        if question.variant == "danger" and not question.details:
            told = [look(self.model, [row.pk for row in rows]) for look in _looks]
            question = replace(question, details=mark_safe("".join(told)))  # noqa: S308  # of templates
        context = {
            "title": f"{question.verb}: {self.opts.verbose_name_plural}",
            "question": question,
            "rows": rows,
            "action": request.POST.get("action", ""),
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "list_url": f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist",
        }
        return self.page(request, "registry/confirm.html", context)

    def page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        shared = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, template, {**shared, **context})


def is_confirmed(request: HttpRequest) -> bool:
    return "confirmed" in request.POST


def was_seen(request: HttpRequest, seen: str) -> bool:
    """Whether the row was like this when the page was made."""
    return seen in request.POST.getlist("seen")
