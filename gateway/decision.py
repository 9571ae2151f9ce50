"""Why one request went as it did, as compact JSON: what was judged, in ids and numbers.

Words are made of it where somebody asks, by `gateway.story`. It holds no prompt and no secret.
Written at the end of every request, so it is built from what there is, and costs microseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from accounts import admission
from accounts.admission import Mode, Weighed
from gateway.judgment import Judgment
from gateway.routing import Dropped
from lib.errors import CourierError
from registry import snapshot
from registry.snapshot import Target

logger = logging.getLogger(__name__)

#: Goes up when a reader of the former form would misread the present one.
VERSION = 1
#: Of what a request was told, and of names that clients may have made up.
LONGEST_MESSAGE = 400
MOST_NAMES, LONGEST_NAME = 32, 64

Told: TypeAlias = dict[str, Any]


def told(judgment: Judgment, dropped_parameters: Sequence[str] = ()) -> Told:
    """What there is to tell of a request, however far its judgment came."""
    found: Told = {"v": VERSION, "revision": snapshot.current().recorded}
    for step in (_choice, _weighed, _plan):
        step(judgment, found)
    if dropped_parameters:
        names = dropped_parameters[:MOST_NAMES]
        found["parameters"] = [name[:LONGEST_NAME] for name in names]
    return found


def of(judgment: Judgment, dropped_parameters: Sequence[str]) -> Told | None:
    """The same; None if it cannot be told: nobody's answer depends on it."""
    try:
        return told(judgment, dropped_parameters)
    except Exception:
        logger.exception("why a request went as it did could not be written down")
        return None


def refused(judgment: Judgment | None, error: CourierError, unrecorded: int = 0) -> Told:
    """The same of a request that was not admitted, with what its client was told."""
    found: Told = told(judgment) if judgment else {"v": VERSION}
    found["error"] = {
        "code": error.code,
        "status": error.status,
        "message": error.message[:LONGEST_MESSAGE],
    }
    if error.retry_after is not None:
        found["error"]["retry_after_s"] = round(error.retry_after, 3)
    if unrecorded:
        found["unrecorded"] = unrecorded
    return found


def _choice(judgment: Judgment, found: Told) -> None:
    if judgment.left:
        found["left"] = judgment.left
    if judgment.unable:
        found["unable"] = judgment.unable
    choice = getattr(judgment, "choice", None)
    if choice is None:
        return
    found["model"] = judgment.model.name
    manner = choice.manner
    found["strategy"] = manner.strategy
    if judgment.model.is_sticky:
        found["session"] = manner.session is not None
    if choice.narrowed.held:
        found["policies"] = choice.narrowed.held
    found["tokens"] = [judgment.bill.input_tokens, judgment.bill.output_bound]


def _weighed(judgment: Judgment, found: Told) -> None:
    weighed = judgment.weighed
    if weighed is None:
        return
    rules, need, verdict = weighed
    found["hold"] = need.cost_nano
    if admission.mode() is not Mode.NORMAL:
        found["degraded"] = True
    if rules.limits or rules.budgets:
        found["at"] = verdict.now_us
        found["limits"] = list(_limits(weighed))
        found["budgets"] = list(_budgets(weighed))
    if verdict.refused >= 0:
        found["refused_by"] = verdict.refused


def _limits(weighed: Weighed) -> Iterator[Sequence[Any]]:
    """Of each: id, scope, metric, window, amount, model; what is used, and the newest slot."""
    rules, _, verdict = weighed
    for one, used, newest in zip(rules.limits, verdict.used, verdict.newest, strict=False):
        yield one.id, one.scope, one.metric, one.window_s, one.amount, one.model, used, newest


def _budgets(weighed: Weighed) -> Iterator[Sequence[Any]]:
    """Of each: id, scope, period, rolling, hard, amount, spent, held, its end; 0: it rolls."""
    rules, _, verdict = weighed
    counted = zip(
        rules.budgets, rules.bounds(verdict.now_us), verdict.amounts, verdict.spent,
        verdict.reserved, strict=False,
    )  # fmt: skip
    for one, bounds, amount, spent, held in counted:
        rolls, end = one.ring.slot_us > 0, bounds.window(verdict.now_us)[1]
        yield one.id, one.scope, one.period, rolls, one.hard, amount, spent, held, end


def _plan(judgment: Judgment, found: Told) -> None:
    plan, choice = getattr(judgment, "plan", None), getattr(judgment, "choice", None)
    if choice is not None:
        dropped = [*choice.unfit, *choice.narrowed.dropped, *(plan.dropped if plan else ())]
        dropped += judgment.passed_over
        if dropped:
            found["dropped"] = [_dropped(each) for each in dropped]
    if plan is not None:
        found["targets"] = [named(target) for target in plan.targets]
        if plan.is_last_resort:
            found["last_resort"] = True


def named(target: Target) -> tuple[int, int | None, int, str, str]:
    """Ids for links and names as of the call: a route may be gone when somebody asks."""
    return (
        target.route_id, target.key_id, target.provider_id,
        target.provider_name, target.upstream_model,
    )  # fmt: skip


def _dropped(each: Dropped) -> Sequence[Any]:
    return *named(each.target), each.reason, each.for_s, each.policy
