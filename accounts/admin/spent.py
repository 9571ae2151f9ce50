"""How much of each budget is spent, as a figure and a bar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.views import ChangeList

from accounts import spent
from accounts.budgets import BudgetState
from accounts.models import Budget

CSS = {"all": ("accounts/spent.css",)}
#: From this share on a bar warns.
CLOSE = 0.8


class SpentList(ChangeList):
    """Asks for what is spent once for the page, not for each row."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        states = states_by_id(self.result_list)
        for budget in self.result_list:
            budget.spent = states.get(budget.pk)


def states_by_id(budgets: Iterable[Budget]) -> Mapping[int, BudgetState]:
    """What is left of budgets, but for those of plans."""
    return spent.states([rule for row in budgets if (rule := spent.rule_of(row))])


def bar(budget: Budget, state: BudgetState | None) -> SafeString:
    """What is spent of a budget. One of a plan counts for each key."""
    context = {"budget": budget, "state": state, "level": _level(state)}
    return render_to_string("accounts/spent.html", context)


def _level(state: BudgetState | None) -> str:
    if state is None or state.spent_nano is None:
        return "unknown"
    if state.spent_nano >= state.amount_nano:
        return "over"
    return "close" if state.spent_nano >= CLOSE * state.amount_nano else "well"
