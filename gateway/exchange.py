"""One admitted request with its answer. Read this first.

`serve` answers a request from top to bottom: may this key use the model, may it go on
now, in which order are routes tried, who answers first. Whatever happens after admission
ends in exactly one usage record.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence

from django.conf import settings
from django.http.response import HttpResponseBase

from accounts.admission import Reservation
from accounts.errors import InvalidApiKey
from accounts.principals import Principal
from gateway import (
    attempt,
    batches,
    decision,
    disclosure,
    errors,
    failover,
    metering,
    paid_answers,
    passage,
    refusals,
    relay,
)
from gateway.call import Call
from gateway.dialects.base import BodyDialect
from gateway.failover import Attempts, T
from gateway.judgment import Judgment
from gateway.metering import Metered, UsageSource
from gateway.question import Caller, Question
from gateway.reply import Whole
from gateway.retry_budget import Share, retries
from gateway.standing import Turnstile
from gateway.throttle import throttle
from lib import crash_points
from lib.errors import CourierError
from lib.logs import SECURITY
from registry.snapshot import Target
from usage import recorder
from usage.errors import SpoolUnavailable
from usage.recorder import Record

#: The log's word for a client that left: nginx's.
CLIENT_CLOSED_REQUEST = 499


async def serve(caller: Caller, principal: Principal, question: Question) -> HttpResponseBase:
    """Answer `question` with one of the routes that serve its model."""
    judgment = Judgment(caller, principal, question)
    try:
        judgment.choose()
        recorder.check_writable()
        exchange = Exchange(judgment)
        exchange.reservation = await judgment.admit()
    except CourierError as error:
        refusals.note(judgment, error)
        raise
    crash_points.reach("request.held")
    try:
        recorder.open_request(exchange.record)
        crash_points.reach("request.opened")
        return await _answer(exchange)
    except BaseException as error:
        exchange.fail(error)
        raise


async def _answer(exchange: Exchange) -> HttpResponseBase:
    question = exchange.question
    await exchange.judgment.order()
    if question.wants_stream:
        with relay.Waiting(exchange):
            stream = await exchange.first_success(attempt.open_stream)
        exchange.first_output_at, exchange.dropped = exchange.now(), stream.dropped
        return relay.EventStream(stream, exchange)
    if isinstance(question.dialect, BodyDialect):
        return await _answer_with_body(exchange)
    whole = await exchange.first_success(paid_answers.awaited(batches.whole_answer, exchange))
    exchange.dropped = whole.dropped
    upstream_model = whole.target.upstream_model
    exchange.complete(metering.metered(question, whole.usage, whole.said, upstream_model))
    return Whole(whole.content, {"content-type": "application/json", **exchange.answer_headers()})


async def _answer_with_body(exchange: Exchange) -> HttpResponseBase:
    """Pass the answer on as it comes, unless it was all there at once."""
    body = await exchange.first_success(attempt.open_body)
    exchange.first_output_at, exchange.dropped = exchange.now(), body.dropped
    if isinstance(body, attempt.OpenStream):
        exchange.record.streamed = True
        return relay.EventStream(body, exchange)
    if not body.is_whole:
        return passage.Passage(body, exchange)
    exchange.complete(passage.metered(exchange.question, body))
    return Whole(body.held, {"content-type": body.content_type, **exchange.answer_headers()})


class Exchange:
    """One admitted request: what it holds, what it has tried, and its one record."""

    #: Given at admission, after which nothing may come between it and its settlement.
    reservation: Reservation

    def __init__(self, judgment: Judgment) -> None:
        self.judgment = judgment
        self.caller = judgment.caller
        self.principal = judgment.principal
        self.question = question = judgment.question
        self.model = model = judgment.model
        self.bill = judgment.bill
        self.caller.reply.revision = model.revision
        #: The one tried last: of an answer, the one that gave it.
        self.target: Target | None = None
        self.has_ended = False
        #: Seconds spent on upstreams, waits between attempts included.
        self.upstream_s = 0.0
        self.first_output_at: float | None = None
        #: Parameters that the target could not be given.
        self.dropped: Sequence[str] = ()
        self._loop = asyncio.get_running_loop()
        self._started_at = judgment.moment
        #: The newest upstream call.
        self._call: Call | None = None
        self.record = self._opened()
        self.attempts = Attempts(
            most=model.max_attempts,
            deadline=self._deadline(),
            least_s=0.0 if question.wants_stream else math.inf,
        )

    def _deadline(self) -> float:
        """When the first byte must be there. A provider that is allowed more time gets it."""
        slowest = max((target.first_byte_timeout_s for target in self.model.targets), default=0)
        return self.now() + max(settings.COURIER_FIRST_BYTE_DEADLINE_S, slowest)

    async def first_success(self, ask: Callable[[Question, Target, float], Awaitable[T]]) -> T:
        """The first answer of the targets; what fails on the way is told to the breakers."""

        async def attempt_at(target: Target, limit_s: float) -> T:
            plan = self.judgment.plan
            call = Call(target, self.bill, self._loop.time)
            try:
                await call.begin()
            except errors.UpstreamError as error:
                self.judgment.pass_over(target, error)
                raise
            self.target, self._call = target, call
            try:
                answer = await ask(self.question, target, limit_s)
            except errors.UpstreamError as error:
                self._failed(call, error)
                raise
            except BaseException:
                call.give_up()
                raise
            call.answered(plan.meant_for)
            return answer

        for target in self.judgment.plan.passed_over:
            throttle.wanted(target)
        began_at = self.now()
        try:
            with retries.request() as share:
                return await self._over_models(attempt_at, share)
        finally:
            self.upstream_s = self.now() - began_at

    async def _over_models(
        self, attempt_at: Callable[[Target, float], Awaitable[T]], share: Share
    ) -> T:
        """The first answer of the model; of others for what its providers refuse.

        What the client is told is the first refusal: it asked for that model.
        """
        refusal: errors.UpstreamError | None = None
        while True:
            targets, gate = self.judgment.plan.targets, Turnstile(self.judgment.standing, share)
            try:
                return await failover.first_success(targets, attempt_at, self.attempts, gate)
            except errors.UpstreamError as error:
                refusal = refusal or error
                may_go_on = self.attempts.made < self.attempts.most and not error.is_last
                if not may_go_on or not await self.judgment.move_on(error):
                    raise failover.final(refusal, self.attempts) from None
            self._serve_as_judged()

    def _serve_as_judged(self) -> None:
        """Another model serves the request now."""
        judgment = self.judgment
        self.model, self.bill = judgment.model, judgment.bill
        self.record.model_served = self.model.name

    def _failed(self, call: Call, error: errors.UpstreamError) -> None:
        call.failed(error)
        if error.concerns_security:
            # Not the error's words: those are the client's, and some are the provider's.
            SECURITY.warning(
                "%s at provider %r, key %s, request %s",
                error.code,
                call.target.provider_name,
                call.target.key_id,
                self.caller.request_id,
            )
        if not self.question.can_be_asked_again:
            error.is_final()

    def now(self) -> float:
        return self._loop.time()

    def answer_headers(self) -> dict[str, str]:
        """What the answer tells about itself."""
        elapsed = self.now() - self.caller.received_at
        overhead_ms = (elapsed - self.upstream_s) * 1000
        headers = {
            **self.early_headers(),
            "x-courier-attempts": str(self.attempts.made),
            "x-courier-overhead-ms": f"{overhead_ms:.2f}",
        }
        if self.dropped:
            headers["x-courier-dropped-params"] = self.dropped_names()
        if self.record.cost_nano is not None:
            headers["x-courier-cost"] = disclosure.dollars(self.record.cost_nano)
        return disclosure.disclosed(headers)

    def dropped_names(self) -> str:
        return disclosure.names_of(self.dropped)

    def early_headers(self) -> dict[str, str]:
        """What is known before any route has answered."""
        headers = {**self.reservation.headers, "x-courier-model-served": self.model.name}
        if self.principal.budgets:
            headers["x-courier-hold"] = disclosure.dollars(self.reservation.held_nano)
        return disclosure.disclosed(headers)

    def complete(self, metered: Metered) -> None:
        """The answer is whole. Recorded before its last byte leaves."""
        self._end_well(metered, outcome="ok", end_reason="complete", status=200)

    def break_off(self, error: CourierError, metered: Metered) -> None:
        """The answer broke off: what was sent is counted."""
        if self._call and isinstance(error, errors.UpstreamError):
            self._call.broke_off(error)
        reason = _reason_of(error)
        status = 200 if self.caller.reply.has_begun else error.status
        self._end(metered, outcome=error.code or "error", end_reason=reason, status=status)

    def client_left(self, metered: Metered) -> None:
        """The client went away: what it was sent, and what it had asked for, is counted."""
        self._end(
            metered,
            outcome="client_disconnected",
            end_reason="client_gone",
            status=CLIENT_CLOSED_REQUEST,
        )

    def run_out(self, metered: Metered) -> None:
        """The budget does not cover the rest of the answer. What was sent is counted."""
        self._end_well(metered, outcome="budget_exceeded", end_reason="budget", status=200)

    async def cover_next_step(self) -> bool:
        """Hold more for a stream without a bound; False if a budget does not have it."""
        if self.target is None or self._call is None:
            return False
        if not await self._call.cover_next_step():
            return False
        return await self.reservation.extend(self.bill.step_nano(self.target))

    def fail(self, error: BaseException) -> None:
        """No answer was sent."""
        if isinstance(error, asyncio.CancelledError):
            if self.caller.reply.client_is_gone:
                self.client_left(self._asked_only())
            else:
                self.break_off(errors.ShuttingDown(), self._asked_only())
            return
        code = error.code if isinstance(error, CourierError) else "internal_error"
        status = error.status if isinstance(error, CourierError) else 500
        reason = "timeout" if isinstance(error, errors.UpstreamTimeout) else "refused"
        self._end(
            metering.NOTHING, outcome=code or "upstream_rejected", end_reason=reason, status=status
        )
        if isinstance(error, CourierError):
            error.headers = {**self.answer_headers(), **error.headers}

    def _asked_only(self) -> Metered:
        """A client that leaves during a call has had its input read, before any output too."""
        if self.target is None or self._call is None or not self._call.is_in_flight:
            return metering.NOTHING
        return metering.metered(self.question, None, "", self.target.upstream_model)

    def _end_well(self, metered: Metered, *, outcome: str, end_reason: str, status: int) -> None:
        """Raises SpoolUnavailable if it cannot be written down: then it has failed instead."""
        if not self.has_ended:
            self._write_down(metered, outcome, end_reason, status)
            self._give_back(metered)

    def _end(self, metered: Metered, *, outcome: str, end_reason: str, status: int) -> None:
        """What cannot be written down now is kept by the recorder, and is written down later."""
        if self.has_ended:
            return
        try:
            with contextlib.suppress(SpoolUnavailable):
                self._write_down(metered, outcome, end_reason, status)
        finally:
            self._give_back(metered)

    def _write_down(self, metered: Metered, outcome: str, end_reason: str, status: int) -> None:
        record = self.record
        record.outcome, record.end_reason, record.status = outcome, end_reason, status
        self._fill_in(metered)
        record.decision = decision.of(self.judgment, self.dropped)
        recorder.close_request(record)
        crash_points.reach("request.recorded")

    def _give_back(self, metered: Metered) -> None:
        """Put what was used in place of what was held."""
        self.has_ended = True
        self.caller.reply.was_charged = metered is not metering.NOTHING
        if self._call:
            self._call.leave()
            self._call.settle_key()
        self.reservation.settle(
            input_tokens=metered.usage.input_tokens,
            output_tokens=metered.usage.output_tokens,
            cost_nano=self.record.cost_nano or 0,
        )
        crash_points.reach("request.settled")

    def _fill_in(self, metered: Metered) -> None:
        record = self.record
        if self.target:
            record.provider_name = self.target.provider_name
            record.upstream_model = self.target.upstream_model
        received_at, first = self.caller.received_at, self.first_output_at
        record.attempts = len(self.bill.tries)
        record.first_token_ms = _ms(first - received_at) if first else None
        record.total_ms = _ms(self.now() - received_at)
        record.usage_source = metered.source
        record.count(metered.usage)
        self.bill.end(record, self.target, metered, self.now())

    def _opened(self) -> Record:
        """What is known at admission: enough to close the record should Courier be killed."""
        caller, principal, question = self.caller, self.principal, self.question
        targets = self.judgment.choice.targets
        price = self.bill.price_of(targets[0] if targets else None)
        return Record(
            request_id=caller.request_id,
            started_at=self._started_at,
            key_id=principal.key_id,
            key_name=principal.key_name,
            team_id=principal.team_id,
            team_name=principal.team_name,
            user_id=principal.user_id,
            user_name=principal.user_name,
            operation=question.dialect.operation,
            streamed=question.wants_stream,
            model_asked=question.model,
            model_served=self.model.name,
            revision=self.model.revision,
            input_tokens=self.bill.input_tokens,
            usage_source=UsageSource.ESTIMATED,
            price_id=price.id if price else None,
            markup_bp=principal.markup_bp,
            client_request_id=caller.client_request_id,
            trace_id=caller.trace_id,
            tags=self.bill.tags,
        )


def _reason_of(error: CourierError) -> str:
    """Whose doing it was that an answer broke off."""
    if isinstance(error, errors.UpstreamStalled):
        return "timeout"
    if isinstance(error, errors.UpstreamError):
        return "upstream_cut"
    if isinstance(error, InvalidApiKey):
        return "refused"
    return "client_gone" if isinstance(error, errors.ClientStalled) else "interrupted"


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 0)
