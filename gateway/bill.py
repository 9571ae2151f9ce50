"""What one request costs: the hold before it, each attempt, and the charge at the end."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from datetime import UTC, datetime

from django.conf import settings

from accounts.principals import Principal
from accounts.rules import Need
from gateway import batches, errors
from gateway.metering import NOTHING, Metered, UsageSource
from gateway.question import Question
from lib.tokens import TokenUsage
from registry.pricing import Price, charged_nano
from registry.snapshot import Model, Target
from usage.records import Attempt, Record
from usage.rows import MOST_NANO

#: Input tokens that no client sees, at most, of a usual conversation.
MARKS = 32
#: Output tokens that are held for each answer where the request names no bound of its own.
UNBOUNDED_HOLD = 4096
#: A stream without a bound has its hold extended by so many tokens, so many before it is used.
STEP = 1024
MARGIN = 256


class Bill:
    """What one request costs, and is going to."""

    def __init__(
        self,
        question: Question,
        principal: Principal,
        model: Model,
        moment: datetime,
        tags: str = "",
    ) -> None:
        self.input_tokens = question.dialect.input_estimate(question.body)
        self._bound = question.dialect.output_bound(question.body)
        self._question = question
        #: What is asked for beside tokens.
        self._images = question.dialect.images_asked(question.body)
        self._searches = question.dialect.searches_asked(question.body)
        self._principal = principal
        self._model = model
        self.moment = moment
        #: Labels, sorted, with commas between.
        self.tags = tags
        #: Of attempts, in the order in which they were made.
        self.tries: list[Attempt] = []
        self._began_at = 0.0

    def for_model(self, model: Model) -> Bill:
        """The same bill, by the prices of another model. Attempts stay those of one request."""
        other = copy(self)
        other._model = model
        return other

    @property
    def output_bound(self) -> int:
        """The most output tokens that are asked for; 0 where the request does not say."""
        return self._bound

    def price_of(self, target: Target | None) -> Price | None:
        """The price at which `target` is charged; the model's own if there is no target yet."""
        if target is None:
            return self._model.price_at(self.moment)
        return self._model.price_for(target, self.moment)

    def priced_targets(self) -> Sequence[Target]:
        """The model's targets whose price is known. Raises ModelNotPriced if none is."""
        if settings.COURIER_UNPRICED == "allow":
            return self._model.targets
        priced = self._model.priced_targets(self.moment)
        if self._model.targets and not priced:
            raise errors.ModelNotPriced(
                f"The model {self._model.name!r} has no price, and this installation serves "
                "no request whose cost is unknown. Its administrators can enter one.",
                param="model",
            )
        return priced

    def need(self, targets: Sequence[Target]) -> Need:
        """What to hold before the call: enough for whichever of `targets` answers."""
        cost = 0
        if self._principal.budgets:
            # Rather too much: a third of the input's length in characters, not a quarter, and
            # something for the marks that a provider puts between messages.
            guess = self.input_tokens * 4 // 3 + MARKS
            beside = (self._images, self._searches)
            outputs = {(self.price_of(target), self._output_of(target)) for target in targets}
            holds = (price.hold_nano(guess, most, *beside) for price, most in outputs if price)
            cost = max(holds, default=0)
        return Need(self.input_tokens, self._bound, self._charged(cost))

    def need_of_key(self, target: Target) -> Need:
        """What to hold of the target's own key: calls, tokens, money by its provider's price."""
        price, cost = self.price_of(target), 0
        if price and target.terms.budget_nano is not None:
            guess = self.input_tokens * 4 // 3 + MARKS
            most = self._output_of(target, is_hard=True)
            cost = price.hold_nano(guess, most, self._images, self._searches)
        calls = batches.calls_for(self._question, target)
        return Need(self.input_tokens, self._bound, min(cost, MOST_NANO), calls)

    def estimate_nano(self, target: Target) -> int | None:
        """What an answer of `target` would cost, rather too much; None if its price is unknown."""
        price = self.price_of(target)
        if price is None:
            return None
        beside = (self._images, self._searches)
        return self._charged(price.hold_nano(self.input_tokens, self._output_of(target), *beside))

    def _output_of(self, target: Target, *, is_hard: bool = False) -> int:
        """The output tokens to hold for an answer of `target`.

        A stream's hold can be extended, so a usual answer will do. A whole answer's cannot:
        where a budget is hard and the model's limit is known, it is for all that may come.
        """
        is_hard = is_hard or any(each.hard for each in self._principal.budgets)
        unbounded = self._unbounded(target, is_hard=is_hard)
        return self._bound or self._question.dialect.usual_output(self._question.body, unbounded)

    def _unbounded(self, target: Target, *, is_hard: bool) -> int:
        most = target.capabilities.output_limit
        if most is None:
            return UNBOUNDED_HOLD
        waits_to_the_end = is_hard and not self._question.wants_stream
        return most if waits_to_the_end else min(most, UNBOUNDED_HOLD)

    def covered_tokens(self, target: Target) -> int | None:
        """The output tokens that the holds cover; None where they need never be extended."""
        is_held = self._principal.budgets or target.terms.budget_nano is not None
        return self._output_of(target) if is_held and not self._bound else None

    def step_nano(self, target: Target) -> int:
        """What the next step of a stream without a bound costs its caller at most."""
        return self._charged(self.step_of_key_nano(target))

    def step_of_key_nano(self, target: Target) -> int:
        """The same by the price of the provider."""
        price = self.price_of(target)
        if price is None:
            return 0
        # What is charged once for the request is held already.
        return min(price.hold_nano(0, STEP) - price.hold_nano(0, 0), MOST_NANO)

    def begin(self, target: Target, now: float) -> Attempt:
        """An attempt is about to be made. `now` is a time of the event loop's clock."""
        self._began_at = now
        price = self.price_of(target)
        attempt = Attempt(
            started_at=datetime.now(UTC),
            provider_name=target.provider_name,
            upstream_model=target.upstream_model,
            outcome="interrupted",
            calls=0,
            route_id=target.route_id,
            upstream_key_id=target.key_id,
            price_id=price.id if price else None,
        )
        self.tries.append(attempt)
        return attempt

    def fail(self, target: Target, error: errors.UpstreamError, now: float) -> None:
        """The attempt has failed. What the provider had begun may have to be paid for."""
        metered = error.paid or NOTHING
        if error.paid is None and error.may_have_cost:
            begun = TokenUsage(input_tokens=self.input_tokens, search_units=self._searches)
            metered = Metered(begun, UsageSource.ESTIMATED)
        cost = self._cost_nano(target, metered)
        self._close(metered, cost, error.code or "upstream_rejected", now)

    def end(self, record: Record, target: Target | None, metered: Metered, now: float) -> None:
        """Fill in what the request cost. Its last attempt is closed, if that is still open."""
        price, cost = self.price_of(target), self._cost_nano(target, metered)
        record.price_id = price.id if price else None
        record.markup_bp = self._principal.markup_bp
        record.provider_cost_nano = cost
        record.cost_nano = None if cost is None else self._charged(cost)
        if target is not None and self.tries:
            last = self.tries[-1]
            if last.outcome == "interrupted":
                self._close(metered, cost, record.outcome, now)
                last.received = True
            # An answer that could not be written down was good, and yet nobody received it.
            last.received &= record.end_reason in RECEIVED
        record.tries = self.tries

    def _close(self, metered: Metered, cost: int | None, outcome: str, now: float) -> None:
        attempt = self.tries[-1]
        attempt.outcome = outcome
        attempt.input_tokens = metered.usage.input_tokens
        attempt.output_tokens = metered.usage.output_tokens
        attempt.usage_source = metered.source
        attempt.total_ms = max(round((now - self._began_at) * 1000), 0)
        attempt.cost_nano = cost

    def _cost_nano(self, target: Target | None, metered: Metered) -> int | None:
        """What the provider charges; None where the price is unknown."""
        if metered.source is UsageSource.NONE:
            return 0
        price = self.price_of(target)
        return price.cost_nano(metered.usage) if price else None

    def _charged(self, cost_nano: int) -> int:
        # No record says more, and no script in Redis could count much more.
        return min(charged_nano(cost_nano, self._principal.markup_bp), MOST_NANO)


#: How a request ends whose answer reached the client, at least as far as it went.
RECEIVED = frozenset({"complete", "upstream_cut", "timeout", "budget"})
