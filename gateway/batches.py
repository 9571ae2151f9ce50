"""A request with more inputs than a target takes at once: several calls, one answer.

All of them go to one target and are one attempt, which tells how many they were; each counts
where the target's key has a limit of requests. If one fails, the others are called off and
the attempt has failed; what had been used by then is told with the error.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import orjson
from django.conf import settings

from gateway import attempt, errors, metering
from gateway.attempt import WholeAnswer
from gateway.dialects.base import Batched
from gateway.kinds import provider_of
from gateway.metering import Metered, UsageSource
from gateway.question import Question
from lib.tokens import TokenUsage, total_of
from registry.snapshot import Target

#: Calls under way at the same time, for one request.
MOST_AT_ONCE = 4
#: Calls for one request: it is one where its client's requests are counted.
MOST_CALLS = 256


@dataclass(frozen=True, slots=True)
class Part:
    """Some of a request's inputs, as a request of its own."""

    #: The place of the first of them in the whole.
    start: int
    question: Question


async def whole_answer(question: Question, target: Target, limit_s: float) -> WholeAnswer:
    """The target's whole answer, from as many calls as it takes."""
    dialect = question.dialect
    if isinstance(dialect, Batched) and calls_for(question, target) > 1:
        parts = _parts_of(question, dialect, _most_at(target, dialect.task))
        return await Batch(question, dialect, target, parts).answer(limit_s)
    return await attempt.whole_answer(question, target, limit_s)


def calls_for(question: Question, target: Target) -> int:
    """How many calls it takes to have the target answer."""
    dialect = question.dialect
    if not isinstance(dialect, Batched):
        return 1
    most = _most_at(target, dialect.task)
    return max(math.ceil(dialect.inputs_asked(question.body) / most), 1) if most else 1


def _most_at(target: Target, task: str) -> int:
    """How many inputs the target takes in one call; 0 if nobody has said."""
    return target.capabilities.batch_limit or provider_of(target.kind).batch_limits.get(task, 0)


def _parts_of(question: Question, dialect: Batched, most: int) -> list[Part]:
    asked = dialect.inputs_asked(question.body)
    if asked > most * MOST_CALLS:
        raise errors.BadRequest(
            f"There are {asked} inputs. Ask for {most * MOST_CALLS} at most in one request."
        )
    return [
        _part(question, dialect, start, min(start + most, asked)) for start in range(0, asked, most)
    ]


def _part(question: Question, dialect: Batched, start: int, stop: int) -> Part:
    body = dialect.part(question.body, start, stop)
    return Part(start, replace(question, raw=orjson.dumps(body), body=body))


class Batch:
    """One request in parts, at one target."""

    def __init__(
        self, question: Question, dialect: Batched, target: Target, parts: Sequence[Part]
    ) -> None:
        self._question = question
        self._dialect = dialect
        self._target = target
        self._parts = parts
        # The attempt has one place of a key that may only do so much at the same time.
        at_once = 1 if target.terms.concurrency else MOST_AT_ONCE
        self._turns = asyncio.Semaphore(at_once)
        #: What has been used so far, call by call.
        self._used: list[Metered] = []

    async def answer(self, limit_s: float) -> WholeAnswer:
        try:
            return self._joined(await self._answers(limit_s))
        except errors.UpstreamError as error:
            error.paid = metering.together(self._used)
            raise

    async def _answers(self, limit_s: float) -> list[WholeAnswer]:
        name = self._target.provider_name
        try:
            async with (
                asyncio.timeout(self._target.total_timeout_s),
                asyncio.TaskGroup() as group,
            ):
                calls = [
                    group.create_task(self._call(part.question, limit_s)) for part in self._parts
                ]
                # In here: a group that waits at its own end loses count of cancellations.
                await asyncio.wait(calls)
        except BaseExceptionGroup as failures:
            if _is_cancelled():
                # The failure of a part in the same moment hides it.
                raise asyncio.CancelledError from None
            raise failures.exceptions[0] from None
        except TimeoutError as error:
            raise errors.UpstreamTimeout(f"Provider {name!r} took too long to answer.") from error
        return [call.result() for call in calls]

    async def _call(self, part: Question, limit_s: float) -> WholeAnswer:
        async with self._turns:
            try:
                answer = await attempt.whole_answer(part, self._target, limit_s)
            except errors.UpstreamError as error:
                if error.may_have_cost:
                    self._used.append(_begun(part))
                raise
            except asyncio.CancelledError:
                self._used.append(_begun(part))
                raise
            model = self._target.upstream_model
            self._used.append(metering.metered(part, answer.usage, answer.said, model))
            return answer

    def _joined(self, answers: Sequence[WholeAnswer]) -> WholeAnswer:
        name = self._target.provider_name
        if sum(len(answer.content) for answer in answers) > settings.COURIER_MAX_ANSWER:
            raise errors.UpstreamBadResponse(f"The answers of provider {name!r} are too large.")
        told = [
            (part.start, orjson.loads(answer.content))
            for part, answer in zip(self._parts, answers, strict=True)
        ]
        try:
            content = orjson.dumps(self._dialect.joined(self._question.body, told))
        except ValueError as error:
            raise errors.UpstreamBadResponse(
                f"Provider {name!r} did not answer each input."
            ) from error
        reported = [answer.usage for answer in answers if answer.usage]
        usage = total_of(reported) if len(reported) == len(answers) else None
        dropped = list(dict.fromkeys(name for answer in answers for name in answer.dropped))
        said = "".join(answer.said for answer in answers)
        return WholeAnswer(self._target, content, usage, said, dropped)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _begun(part: Question) -> Metered:
    """What a call may cost that was begun and not answered."""
    used = TokenUsage(
        input_tokens=part.dialect.input_estimate(part.body),
        search_units=part.dialect.searches_asked(part.body),
    )
    return Metered(used, UsageSource.ESTIMATED)
