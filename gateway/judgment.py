"""Whether and how one request is served, step by step.

Whoever answers a request, tells of it afterwards or foresees it asks here, so that they cannot
differ. What each step has found stays, also where the next one refuses.
"""

from __future__ import annotations

from accounts import admission
from accounts.admission import Reservation
from accounts.errors import BudgetExhausted, BudgetHeld
from accounts.principals import Principal
from accounts.rules import Need
from gateway import errors
from gateway.bill import Bill
from gateway.choice import Choice
from gateway.dialects.base import ClientDialect
from gateway.errors import BudgetUsedUp
from gateway.question import Caller, Question
from gateway.routing import Plan
from gateway.standing import Now
from gateway.tags import tags_of
from lib.ids import made_at
from registry import snapshot
from registry.snapshot import Model, Target

#: Percent of a budget.
USED_UP = 100.0


class Judgment:
    """The steps that come before the first upstream call, in their order."""

    #: The model that serves it. This and the following are there once their step was taken.
    model: Model
    bill: Bill
    #: Which routes may serve it.
    choice: Choice
    #: What it may use at most.
    need: Need
    #: What it holds.
    reservation: Reservation
    #: What is known of targets, as far as this request looks at it.
    standing: Now
    #: In which order its routes are tried.
    plan: Plan

    def __init__(self, caller: Caller, principal: Principal, question: Question) -> None:
        self.caller = caller
        self.principal = principal
        self.question = question
        self.moment = made_at(caller.request_id)

    def choose(self) -> None:
        """Find the model and the routes that may serve it."""
        self.model = permitted_model(self.principal, self.question)
        tags = tags_of(self.caller.tags_told, self.question.body)
        self.bill = Bill(self.question, self.principal, self.model, self.moment, tags)
        self.choice = Choice(self.caller, self.principal, self.question, self.model, self.bill)
        self.choice.check()

    async def admit(self) -> Reservation:
        """Hold what it may use, in all limits and budgets or in none."""
        try:
            self.reservation = await self._hold()
        except (BudgetExhausted, BudgetHeld):
            if not self.choice.depends_on_budget:
                raise
            # What policies leave when a budget is used up may be cheap enough for the rest.
            self.choice.see_budget(USED_UP)
            self.reservation = await self._hold()
        return self.reservation

    async def order(self) -> list[Target]:
        """The targets in their order, under the policies that hold for what is left of budgets."""
        if self.choice.depends_on_budget:
            self.choice.see_budget(self.reservation.budget_used_percent)
            await self._hold_more(self.bill.need(self.choice.targets).cost_nano)
        self.standing = Now(self.bill.estimate_nano)
        self.plan = self.choice.plan(self.standing)
        return self.plan.targets

    async def _hold(self) -> Reservation:
        self.need = self.bill.need(self.choice.targets)
        return await self._reserved(self.need)

    async def _hold_more(self, cost_nano: int) -> None:
        missing = cost_nano - self.reservation.held_nano
        if missing > 0 and not await self.reservation.extend(missing):
            raise BudgetUsedUp

    async def _reserved(self, need: Need) -> Reservation:
        request_id = self.caller.request_id
        return await admission.admit(self.principal, request_id, self.model.name, need)


class Foresight(Judgment):
    """The same without a request: nothing is held, counted or called."""

    async def _reserved(self, need: Need) -> Reservation:
        return await admission.preview(self.principal, self.model.name, need)


def check_operation(principal: Principal, dialect: ClientDialect) -> None:
    """Raises EndpointNotAllowed if this key may not ask in this format."""
    if not principal.may_call(dialect.operation):
        raise errors.EndpointNotAllowed(f"This API key may not call {dialect.operation}.")


def permitted_model(principal: Principal, question: Question) -> Model:
    """The model asked for. A key learns nothing about models that it may not use."""
    check_operation(principal, question.dialect)
    if not principal.may_use(question.model):
        raise errors.NotAllowed(
            f"This API key may not use the model {question.model!r}.", param="model"
        )
    if not snapshot.is_loaded():
        raise errors.NotReady("Courier is starting. Try again in a moment.", retry_after=1)
    model = snapshot.current().model(question.model)
    if model is None:
        raise errors.ModelNotFound(f"The model {question.model!r} does not exist.", param="model")
    return model
