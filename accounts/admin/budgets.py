"""Budgets in the admin: inside of a key, team, user or plan, as a list, and raised for a while."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.views import ChangeList

from accounts import raises
from accounts.admin import budget_forms
from accounts.admin.budget_forms import BudgetForm, BudgetFormSet, RaiseForm, ScopedBudgetForm
from accounts.admin.scopes import SCOPE_ROWS, ScopedAdmin, ScopeFilter
from accounts.admin.spent import CSS, SpentList, bar, states_by_id
from accounts.models import Budget, BudgetRaise, User
from registry.admin.confirming import Asked, Confirming, Question, button, is_confirmed, was_seen
from registry.admin.labels import label

READ_ONLY = ("dollars", "period", "window", "counted", "hard", "alerts_at")


class ToldInWords:
    """What those read who may only look at a budget."""

    @admin.display(description="Amount", ordering="amount")
    def dollars(self, budget: Budget) -> str:
        return f"${budget.amount.normalize():,f}"

    @admin.display(description="Counts")
    def counted(self, budget: Budget) -> str:
        return budget_forms.counted(budget)

    @admin.display(description="Alert at")
    def alerts_at(self, budget: Budget) -> str:
        return ", ".join(f"{percent} %" for percent in budget.thresholds) or "no percentage"


class BudgetInline(ToldInWords, TabularInline):
    model = Budget
    form = BudgetForm
    formset = BudgetFormSet
    fields = budget_forms.FIELDS
    readonly_fields = ("dollars", "counted", "alerts_at")
    extra = 0
    tab = True
    hide_title = True

    class Media:
        css = CSS

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Sequence[Any]:
        return self.fields if self.has_change_permission(request, obj) else READ_ONLY


class RaiseInline(TabularInline):
    """The history of a budget's raises. They are granted and ended by the buttons above."""

    model = BudgetRaise
    fields = ("state", "amount", "starts_at", "ends_at", "reason", "granted_by")
    readonly_fields = fields
    extra = 0
    hide_title = True
    verbose_name_plural = "raises"

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return True  # Whoever may see the budget may see why it is higher.

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    @admin.display(description="State")
    def state(self, raised: BudgetRaise) -> str:
        now = timezone.now()
        if raised.ends_at <= now:
            return label("ended")
        return label("in force", "success") if raised.starts_at <= now else label("to come", "info")


@admin.register(Budget)
class BudgetAdmin(ToldInWords, Confirming, ScopedAdmin):
    form = ScopedBudgetForm
    list_display = ("scope", "dollars", "raised", "spent", "period", "window", "hard")
    list_filter = (
        ScopeFilter,
        ("period", ChoicesDropdownFilter),
        ("window", ChoicesDropdownFilter),
        "hard",
    )
    readonly_fields = ("dollars", "counted", "alerts_at", "spent")
    inlines = (RaiseInline,)
    actions: ClassVar[list[str]] = ["raise_them"]
    actions_detail = ("raise_one", "end_raises")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        queryset: QuerySet[Budget] = super().get_queryset(request)
        return queryset.prefetch_related("raises")

    class Media:
        css = CSS

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SpentList

    def get_fields(self, request: HttpRequest, obj: Budget | None = None) -> Sequence[Any]:
        if obj and not self.has_change_permission(request, obj):
            return (*SCOPE_ROWS, "spent", *READ_ONLY)
        shown = (*SCOPE_ROWS, ("amount", "hard"), ("period", "window"), "counting", "thresholds")
        return (*shown, "spent") if obj else shown

    def get_inlines(self, request: HttpRequest, obj: Budget | None = None) -> Sequence[Any]:
        return self.inlines if obj else ()

    def has_grant_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Whether one may raise budgets. It holds for those of a manifest too."""
        allowed = request.user.has_perm("accounts.add_budgetraise")
        return bool(allowed and self.has_view_permission(request))

    @admin.display(description="Spent")
    def spent(self, budget: Any) -> str:
        if not hasattr(budget, "spent"):
            budget.spent = states_by_id([budget]).get(budget.pk)
        return bar(budget, budget.spent)

    @admin.display(description="Raised by")
    def raised(self, budget: Budget) -> str:
        more = raises.amount_at(budget, timezone.now()) - budget.amount
        return f"${more.normalize():f}" if more else ""

    @admin.action(description="Raise for a while", permissions=["grant"])
    def raise_them(self, request: HttpRequest, budgets: QuerySet[Budget]) -> HttpResponse | None:
        return self._raise(request, list(budgets))

    @button("Raise for a while", "trending_up", "grant")
    def raise_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._raise(request, self._only(request, object_id)) or _page_of(object_id)

    @button("End raises", "trending_down", "grant")
    def end_raises(self, request: HttpRequest, object_id: str) -> HttpResponse:
        budgets = self._only(request, object_id)
        if budgets and not is_confirmed(request):
            text = "What it was raised by for a while no longer counts. The history stays."
            question = Question("End the raises of", "budget", text, "danger", button="End")
            return self.ask(request, question, [_asked(budget) for budget in budgets])
        for budget in budgets:
            self._end(request, budget)
        return _page_of(object_id)

    def _end(self, request: HttpRequest, budget: Budget) -> None:
        ended = raises.end(budget)
        if not ended:
            self.message_user(request, "No raise is in force.", messages.WARNING)
            return
        words = f"Ended its raises: {', '.join(map(str, ended))}."
        self.log_change(request, budget, words)
        self.message_user(request, words, messages.SUCCESS)

    def _only(self, request: HttpRequest, object_id: str) -> list[Budget]:
        budget = self.get_object(request, object_id)
        return [budget] if budget else []

    def _raise(self, request: HttpRequest, budgets: list[Budget]) -> HttpResponse | None:
        """Ask how much and why; then do it. None means done: back to where it was asked for."""
        form = RaiseForm(request.POST if is_confirmed(request) else None)
        # A page that is sent again must not raise again.
        rows = [b for b in budgets if not form.is_bound or was_seen(request, _seen(b))]
        if not rows:
            text = "Nothing was raised: it was raised already since that page was made."
            self.message_user(request, text, messages.WARNING)
            return None
        if not (form.is_valid() and self._grant(request, rows, form)):
            text = "It ends by itself, and stays visible with your name and the reason."
            question = Question("Raise", "budget", text, form=form)
            return self.ask(request, question, [_asked(budget) for budget in rows])
        return None

    def _grant(self, request: HttpRequest, budgets: list[Budget], form: RaiseForm) -> bool:
        """Raise all of them or none; what is wrong is told at the field."""
        given = form.cleaned_data
        try:
            with transaction.atomic():
                for budget in budgets:
                    self._grant_one(request, budget, given)
        except ValueError as error:
            form.add_error("amount", str(error))
            return False
        names = ", ".join(f"{budget} for {budget.scope}" for budget in budgets)
        self.message_user(request, f"Raised: {names}.", messages.SUCCESS)
        return True

    def _grant_one(self, request: HttpRequest, budget: Budget, given: dict[str, Any]) -> None:
        before = raises.amount_at(budget, timezone.now())
        who = User.objects.get(username=request.user.get_username())
        made = raises.grant(budget, given["amount"], given["until"], given["reason"], who)
        words = (
            f"Raised from ${before.normalize():f} to ${(before + made.amount).normalize():f} "
            f"until {made.ends_at:%Y-%m-%d %H:%M %Z}: {made.reason}"
        )
        self.log_change(request, budget, words)


def _asked(budget: Budget) -> Asked:
    return Asked(budget.pk, str(budget), f"for {budget.scope}", _seen(budget))


def _seen(budget: Budget) -> str:
    """What tells whether it was raised since: its newest raise."""
    return f"{budget.pk}:{max((one.pk for one in budget.raises.all()), default=0)}"


def _page_of(object_id: str) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:accounts_budget_change", args=[object_id]))
