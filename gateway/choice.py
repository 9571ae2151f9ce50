"""The routes of one request: which may serve it, which not and why, and in which order.

Whoever answers a request and whoever explains one ask here, so that they cannot differ.
"""

from __future__ import annotations

import math

from accounts.principals import Principal
from gateway import fitting, keys, policies, routing, sessions
from gateway.bill import Bill
from gateway.errors import (
    NoAvailableTarget,
    RefusedByPolicy,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamRateLimited,
)
from gateway.interpreter import able
from gateway.policies import Circumstances, Narrowed
from gateway.question import Caller, Question
from gateway.routing import Dropped, Manner, Plan, Standing, left_out
from registry import snapshot
from registry.snapshot import Model


class Choice:
    """The routes of one request, step by step.

    Raises ModelNotPriced, UnsupportedParameter, NotCertified or ContextLengthExceeded where
    no route can serve it.
    """

    def __init__(
        self, caller: Caller, principal: Principal, question: Question, model: Model, bill: Bill
    ) -> None:
        self._question = question
        self._model = model
        self._bill = bill
        self._session = self._session_of(caller)
        priced = bill.priced_targets()
        keeping = able(question, priced)
        self._fitting = fitting.fitting(model, keeping, question, bill.input_tokens)
        #: Those that cannot serve this request, whatever policies say.
        self.unfit: list[Dropped] = [
            *left_out(model.targets, priced, "not_priced"),
            *left_out(priced, keeping, "keeps_no_state"),
            *left_out(keeping, self._fitting, "cannot_serve"),
        ]
        self._policies = snapshot.current().policies
        self._circumstances = self._told(principal, caller) if self._policies else None
        self.narrowed = self._narrowed()

    def _session_of(self, caller: Caller) -> int | None:
        is_kept = self._model.is_sticky
        return sessions.session_of(caller.session, self._question.body) if is_kept else None

    @property
    def targets(self) -> list[snapshot.Target]:
        """Those that may serve the request, in no order yet."""
        return self.narrowed.targets

    @property
    def manner(self) -> Manner:
        """How they are to be ordered."""
        return Manner(self._model.strategy, self._session, self.narrowed.preferred)

    @property
    def depends_on_budget(self) -> bool:
        return policies.asks_for_budget(self._policies)

    def check(self) -> None:
        """Raises RefusedByPolicy if policies have left nothing to try."""
        if self._fitting and not self.narrowed.targets:
            names = ", ".join(dict.fromkeys(each.policy for each in self.narrowed.dropped))
            raise RefusedByPolicy(
                f"The routing policies of this installation leave no route of the model "
                f"{self._model.name!r} for this request ({names}).",
                param="model",
            )

    def see_budget(self, used_percent: float) -> None:
        """Look at the policies again, now that it is known how much of a budget is used.

        Raises RefusedByPolicy.
        """
        if self._circumstances is not None:
            self._circumstances = self._circumstances.at_budget(used_percent)
            self.narrowed = self._narrowed()
            self.check()

    def plan(self, standing: Standing) -> Plan:
        """The order in which routes are tried."""
        return routing.plan(self.targets, self.manner, standing)

    def check_routes(self) -> None:
        """Raises NoAvailableTarget if there is no route at all."""
        if not self.targets:
            raise NoAvailableTarget("No route of this model is available at the moment.")

    def check_plan(self, planned: Plan) -> None:
        """Raises NoAvailableTarget, or a failure that says more, if nothing may be called now."""
        self.check_routes()
        if not planned.targets:
            raise self._all_wait(planned)

    def _narrowed(self) -> Narrowed:
        if self._circumstances is None:
            return Narrowed(list(self._fitting))
        return policies.narrow(
            self._fitting, self._policies, self._circumstances, self._bill.estimate_nano
        )

    def _all_wait(self, planned: Plan) -> UpstreamError:
        """Why nothing may be called: which provider for which reason, and for how long."""
        reasons = {each.reason for each in planned.dropped}
        if reasons == {keys.REFUSED}:
            return UpstreamAuthFailed(
                f"Every upstream key of the model {self._model.name!r} is out: its provider "
                "refused it."
            )
        waits: dict[tuple[str, str], float] = {}
        for each in planned.dropped:
            why = each.target.provider_name, WORDS.get(each.reason, each.reason)
            wait = math.inf if each.for_s is None else each.for_s
            waits[why] = min(wait, waits.get(why, math.inf))
        told = ", ".join(_wait(*why, for_s) for why, for_s in waits.items())
        kind = UpstreamRateLimited if reasons <= LIMITS else NoAvailableTarget
        soonest = min(waits.values(), default=math.inf)
        return kind(
            f"No route of the model {self._model.name!r} may be called at the moment: {told}.",
            retry_after=soonest if soonest < math.inf else None,
        )

    def _told(self, principal: Principal, caller: Caller) -> Circumstances:
        asks_for_needs = any(policy.conditions.needs for policy in self._policies)
        return Circumstances(
            team=principal.team_name,
            key=principal.key_name,
            tags=self._bill.tags.split(","),
            model_asked=self._question.model,
            model_served=self._model.name,
            endpoint=self._question.dialect.operation,
            input_tokens=self._bill.input_tokens,
            needs=fitting.needs(self._question) if asks_for_needs else frozenset(),
            moment=self._bill.moment,
        )


#: Why a target must not be called, for people.
WORDS = {
    "rate_limited": "at its rate limit",
    "asked_to_wait": "has asked for a pause",
    "drained": "drained by staff",
    "pinned_elsewhere": "another is pinned by staff",
    keys.REFUSED: "its key was refused",
    keys.TAKEN_OUT: "its key was taken out by staff",
    keys.WITHOUT_CREDIT: "its key has no credit",
    keys.RATE_LIMITED: "its key is at its rate limit",
    keys.NOT_PERMITTED: "its key is not for this model",
    keys.QUOTA_USED_UP: "its key's quota is used up",
    keys.BUDGET_USED_UP: "its key's budget is used up",
}
#: Those after which a client is told to slow down.
LIMITS = frozenset({"rate_limited", keys.RATE_LIMITED, keys.QUOTA_USED_UP, keys.BUDGET_USED_UP})


def _wait(provider_name: str, why: str, for_s: float) -> str:
    lasts = "" if for_s == math.inf else f", for {math.ceil(for_s)} s"
    return f"{provider_name} ({why}{lasts})"
