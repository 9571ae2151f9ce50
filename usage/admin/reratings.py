"""Past periods priced anew, in the admin: calculated first, then approved, then written."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from registry.admin.autocomplete import Autocompletes
from registry.admin.confirming import Asked, Confirming, Question, button, is_confirmed, was_seen
from registry.admin.labels import label
from registry.conditions import Level
from registry.models import ServedModel
from usage import rerating
from usage.admin.reading import ReadOnlyAdmin
from usage.models import DailyUsage, RerateRun
from usage.money import dollars, exact_dollars

LEVELS: dict[str, Level] = {
    "waiting": "info",
    "ready": "warning",
    "approved": "info",
    "applied": "success",
    "stopped": "danger",
}
CONSEQUENCE = (
    "Corrections are added to the ledger, and change what the teams are charged by {}. Records, "
    "and reports as of an earlier time, stay as they are."
)


class RerateForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when run
    """Which requests are to be priced anew."""

    class Meta:
        model = RerateRun
        fields = ("first_day", "last_day", "model", "team")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "team" in self.fields:
            self.fields["team"].required = False
            self.fields["team"].help_text = "Empty: all teams."

    def clean_model(self) -> str:
        named: str = self.cleaned_data["model"]
        if named and not _is_known(named):
            raise ValidationError(f"There is no model “{named}”, and none of that name was used.")
        return named

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        first, last = values.get("first_day"), values.get("last_day")
        if first and last and first > last:
            raise ValidationError({"last_day": "It must not be before the first day."})
        if last and last > timezone.now().date():
            raise ValidationError({"last_day": "It must not be in the future."})
        return values


def _is_known(model: str) -> bool:
    """Whether a model of this name is served, or was."""
    served = ServedModel.objects.filter(name=model).exists()
    return served or DailyUsage.objects.filter(model=model).exists()


@admin.register(RerateRun)
class RerateRunAdmin(Autocompletes, Confirming, ReadOnlyAdmin):
    form = RerateForm
    list_display = ("__str__", "of", "condition", "difference", "made_by", "made_at")
    list_filter = (("state", ChoicesDropdownFilter),)
    list_select_related = ("team",)
    autocomplete_fields = ("team",)
    actions_detail = ("approve_one",)
    told = (
        (None, {"fields": (("period", "of"), ("condition", "trouble"))}),
        ("What changes, by team", {"fields": ("by_team",)}),
        ("Who", {"fields": (("made_by", "made_at"), ("approved_by", "applied_at"), "written")}),
    )
    asked = ((None, {"fields": (("first_day", "last_day"), ("model", "team"))}),)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("usage.add_reraterun"))

    def has_approve_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return bool(request.user.has_perm("usage.change_reraterun"))

    def get_fieldsets(self, request: HttpRequest, obj: RerateRun | None = None) -> Any:
        return self.told if obj else self.asked

    def get_readonly_fields(self, request: HttpRequest, obj: RerateRun | None = None) -> Any:
        return ("period", "of", "condition", "by_team") if obj else ()

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        run = self.get_object(request, str(object_id))
        is_ready = run is not None and run.state == RerateRun.State.READY
        return super().get_actions_detail(request, object_id) if is_ready else []

    def save_model(self, request: HttpRequest, obj: RerateRun, form: Any, change: bool) -> None:
        obj.made_by = request.user.get_username()
        super().save_model(request, obj, form, change)
        text = "It is being calculated. Come back to its page in a while; nothing is written yet."
        self.message_user(request, text)

    @button("Approve", "task_alt", "approve")
    def approve_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        run = RerateRun.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        if run is None:
            return HttpResponseRedirect(reverse("admin:usage_reraterun_changelist"))
        if not is_confirmed(request):
            return self.ask(request, _question(run), [_asked(run)])
        self._approve(request, run)
        return HttpResponseRedirect(reverse("admin:usage_reraterun_change", args=(run.pk,)))

    def _approve(self, request: HttpRequest, run: RerateRun) -> None:
        try:
            if not was_seen(request, run.tariff):
                raise ValueError("It has changed since the page was made. Look again.")  # noqa: TRY301
            rerating.approve(run, request.user.get_username())
        except ValueError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        self.log_change(request, run, "Approved.")
        self.message_user(request, "It is being written.", messages.SUCCESS)

    @admin.display(description="Period, in UTC")
    def period(self, run: RerateRun) -> str:
        return str(run)

    @admin.display(description="Requests")
    def of(self, run: RerateRun) -> str:
        model = run.model or "all models"
        return f"{model}, team {run.team.name}" if run.team_id and run.team else model

    @admin.display(description="State", ordering="state")
    def condition(self, run: RerateRun) -> str:
        return label(str(run.get_state_display()), LEVELS[run.state])

    @admin.display(description="Difference")
    def difference(self, run: RerateRun) -> str:
        known = run.state != RerateRun.State.WAITING
        return _signed(_difference_nano(run)) if known else ""

    @admin.display(description="Teams")
    def by_team(self, run: RerateRun) -> str:
        lines = [
            {
                "team": total.team,
                "old": dollars(total.old_nano),
                "new": dollars(total.new_nano),
                "difference": _signed(total.difference_nano),
                "changed": total.changed,
                "requests": total.requests,
                "unknown": total.unknown,
            }
            for total in rerating.totals_of(run)
        ]
        context = {"lines": lines, "waits": run.state == RerateRun.State.WAITING}
        return render_to_string("usage/rerating.html", context)

    class Media:
        css: dict[str, tuple[str, ...]] = {"all": ("courier/overview.css",)}  # noqa: RUF012, RUF100

    def get_queryset(self, request: HttpRequest) -> QuerySet[RerateRun]:
        queryset: QuerySet[RerateRun] = super().get_queryset(request)
        return queryset.select_related("team")


def _question(run: RerateRun) -> Question:
    text = CONSEQUENCE.format(exact_dollars(_difference_nano(run)))
    return Question("Write", "re-rating", text)


def _asked(run: RerateRun) -> Asked:
    changed = sum(total.changed for total in rerating.totals_of(run))
    return Asked(run.pk, str(run), f"{changed:,} requests differ", seen=run.tariff)


def _difference_nano(run: RerateRun) -> int:
    return sum(total.difference_nano for total in rerating.totals_of(run))


def _signed(nano: int) -> str:
    """A difference: "+$1.50", "−$0.20"."""
    return f"{'+' if nano > 0 else '−' if nano else ''}{dollars(abs(nano))}"
