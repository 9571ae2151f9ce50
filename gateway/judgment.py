"""Whether and how one request is served, step by step.

Whoever answers a request, tells of it afterwards or foresees it asks here, so that they cannot
differ. What each step has found stays, also where the next one refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from accounts import admission
from accounts.admission import Reservation, Weighed
from accounts.errors import BudgetExhausted, BudgetHeld, OverLimit
from accounts.principals import Principal
from accounts.rules import Need
from gateway import errors
from gateway.bill import Bill
from gateway.choice import Choice
from gateway.dialects.base import ClientDialect
from gateway.errors import BudgetUsedUp, ContextLengthExceeded, UpstreamError
from gateway.question import Caller, Question
from gateway.routing import Dropped, Plan
from gateway.standing import Now
from gateway.tags import tags_of
from lib.errors import CourierError
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
        #: The models that may yet serve it in the place of the one asked for; None as long as
        #: that one may. One hop: theirs are never asked.
        self._others: list[Model] | None = None
        #: The models that did not serve it in the end, and the codes of what kept them from it.
        self.left: list[tuple[str, str]] = []
        #: Those that were to serve it in the place of another and could not, and the codes of why.
        self.unable: list[tuple[str, str]] = []
        #: Targets of its model that were not called when it was their turn, and why.
        self.passed_over: list[Dropped] = []
        self._refused_for: Weighed | None = None

    def choose(self) -> None:
        """Find the model and the routes that may serve it."""
        self.model = model = permitted_model(self.principal, self.question)
        tags = tags_of(self.caller.tags_told, self.question.body)
        self.bill = Bill(self.question, self.principal, model, self.moment, tags)
        try:
            self.choice = self._choice_of(model, self.bill)
        except ContextLengthExceeded as error:
            if not self._choose_another(error):
                raise
        self.choice.check()

    def _choice_of(self, model: Model, bill: Bill) -> Choice:
        return Choice(self.caller, self.principal, self.question, model, bill)

    def _choose_another(self, error: ContextLengthExceeded) -> bool:
        """Choose a model that is named for what is too long for this one.

        False, and nothing has changed, if none of them may serve the request.
        """
        asked = self.model
        for other in self._fallbacks(asked.context_fallbacks):
            try:
                self._turn_to(other)
            except CourierError as refusal:
                self.unable.append((other.name, refusal.code or ""))
            else:
                self.left.append((asked.name, error.code))
                return True
        return False

    def _turn_to(self, other: Model) -> None:
        """Have another model serve it. Raises, and nothing has changed, if that one may not."""
        bill = self.bill.for_model(other)
        choice = self._choice_of(other, bill)
        choice.check()
        choice.check_routes()
        self.model, self.bill, self.choice = other, bill, choice

    async def move_on(self, error: UpstreamError) -> bool:
        """Choose another model for what this one's provider has refused, if one is named for it.

        False, and nothing has changed, if there is none that may serve the request, or none
        that the caller's budgets cover.
        """
        for other in self._fallbacks(_named_for(error, self.model)):
            before = self.model, self.bill, self.choice, self.plan
            try:
                self._turn_to(other)
                await self._hold_more(self.bill.need(self.choice.targets).cost_nano)
                await self.order()
            except CourierError as refusal:
                self.model, self.bill, self.choice, self.plan = before
                self.unable.append((other.name, refusal.code or ""))
            else:
                self.left.append((before[0].name, error.code or ""))
                self.passed_over.clear()
                return True
        return False

    def _fallbacks(self, names: Sequence[str]) -> Iterator[Model]:
        """The models of these names, each once, as often as one is asked for."""
        if self._others is None:
            found = map(snapshot.current().models.get, names)
            self._others = [model for model in found if model and model is not self.model]
        while self._others:
            yield self._others.pop(0)

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
        self.choice.check_plan(self.plan)
        return self.plan.targets

    @property
    def weighed(self) -> Weighed | None:
        """What limits and budgets have said; None before they were asked."""
        reservation: Reservation | None = getattr(self, "reservation", None)
        return reservation.weighed if reservation else self._refused_for

    def pass_over(self, target: Target, error: UpstreamError) -> None:
        """It is the target's turn, and its key has no room."""
        self.passed_over.append(Dropped(target, error.code or "", error.retry_after))

    async def _hold(self) -> Reservation:
        self.need = self.bill.need(self.choice.targets)
        try:
            return await self._reserved(self.need)
        except OverLimit as error:
            self._refused_for = error.weighed
            raise

    async def _hold_more(self, cost_nano: int) -> None:
        missing = cost_nano - self.reservation.held_nano
        if missing > 0 and not await self.reservation.extend(missing):
            raise BudgetUsedUp

    async def _reserved(self, need: Need) -> Reservation:
        request_id = self.caller.request_id
        return await admission.admit(self.principal, request_id, self.model.name, need)


def _named_for(error: UpstreamError, model: Model) -> Sequence[str]:
    """The models that an administrator has named for such a refusal."""
    if isinstance(error, errors.RequestTooLong):
        return model.context_fallbacks
    return model.content_fallbacks if isinstance(error, errors.ContentRefused) else ()


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
