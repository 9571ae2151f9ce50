"""What a decision tells, in words and in order: the steps of one request. Pure.

The same for a request that was made and for one that was only imagined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from accounts import wording
from accounts.limits import whole_after_us
from accounts.periods import FOREVER_US, from_us
from accounts.rules import Limit
from gateway.decision import Told
from gateway.reasons import words_of
from usage.money import dollars


class Mark(StrEnum):
    """What became of one step."""

    PASSED = "passed"
    #: It came to a good end, and not at once.
    RECOVERED = "passed in the end"
    REFUSED = "refused"
    #: It was let in, and came to no good end.
    FAILED = "failed"
    #: A step before it has refused.
    NOT_ASKED = "not asked"


class Link(NamedTuple):
    """A text that leads to a row of the admin, where it is still there."""

    text: str
    #: As in `registry.provider`.
    model: str
    pk: int


Cell: TypeAlias = str | Link


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows. What a row is about comes first."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(slots=True)
class Step:
    """One question that a request is asked, and the answer."""

    title: str
    said: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    mark: Mark = Mark.PASSED

    def tell(self, columns: Sequence[str], rows: Iterable[Sequence[Cell]], caption: str) -> None:
        """Add a table, unless it would be empty."""
        if filled := list(rows):
            self.tables.append(Table(columns, filled, caption))


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt, as the log has it."""

    provider_name: str
    upstream_model: str
    key_name: str
    outcome: str
    received: bool
    total_ms: int
    cost_nano: int | None
    #: Requests that were sent for it.
    sent: int = 1

    @property
    def answered(self) -> bool:
        """Whether the client has all of an answer by it."""
        return self.received and self.outcome == "ok"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a request beside its decision."""

    key: Cell
    team: Cell
    operation: str
    model_asked: str
    #: Of upstream keys, by id.
    key_names: Mapping[int, str] = field(default_factory=dict)
    calls: Sequence[Call] = ()
    #: How it ended; empty where it was only imagined.
    outcome: str = ""
    end_reason: str = ""
    cost_nano: int | None = None


#: The step at which a request is refused, by the code that its client is told.
KEY, PERMISSION, REQUEST, ROUTES, LIMITS, BUDGETS, ORDER = range(7)
STEP_OF = {
    "invalid_api_key": KEY,
    "identity_unavailable": KEY,
    "endpoint_not_allowed": PERMISSION,
    "model_not_allowed": PERMISSION,
    "model_not_found": PERMISSION,
    "not_ready": PERMISSION,
    "unsupported_parameter": ROUTES,
    "context_length_exceeded": ROUTES,
    "model_not_priced": ROUTES,
    "not_certified": ROUTES,
    "refused_by_policy": ROUTES,
    "usage_log_unavailable": LIMITS,
    "rate_limit_exceeded": LIMITS,
    "limits_unavailable": LIMITS,
    "insufficient_quota": BUDGETS,
    "budget_held": BUDGETS,
    "budget_exceeded": ORDER,
    "upstream_rate_limited": ORDER,
    "no_available_target": ORDER,
}
SCOPES = {"key": "the key", "team": "the team", "user": "the owner"}


def steps_of(told: Told, facts: Facts) -> list[Step]:
    """The steps in their order, each with its mark."""
    steps = [
        _key(facts),
        _permission(facts, told),
        Step("The request", [_size(told)]),
        _routes(told, facts),
        _limits(told),
        _budgets(told),
        _order(told, facts),
    ]
    _mark(steps, told, facts)
    if facts.calls:
        steps.append(_calls(facts))
    if facts.outcome:
        steps.append(_end(facts, told))
    return steps


def _mark(steps: Sequence[Step], told: Told, facts: Facts) -> None:
    error = told.get("error") or _failed_before_a_call(facts)
    if error is None:
        return
    refused_at = ORDER if "targets" in told else STEP_OF.get(str(error.get("code")), REQUEST)
    # Policies are looked at again once it is known how much of a budget is used.
    asked = (LIMITS, BUDGETS) if refused_at == ROUTES and "hold" in told else ()
    for number, step in enumerate(steps):
        if number == refused_at:
            step.mark = Mark.REFUSED
            # The first steps say only that they were passed.
            kept = [] if number <= REQUEST else step.said
            step.said = [str(error["message"]), *kept]
        elif number > refused_at and number not in asked:
            step.mark, step.said = Mark.NOT_ASKED, []


def _failed_before_a_call(facts: Facts) -> dict[str, Any] | None:
    """What an admitted request was refused for, as far as its log tells."""
    if facts.calls or facts.outcome not in STEP_OF:
        return None
    return {"code": facts.outcome, "message": f"It was refused: {_plain(facts.outcome)}."}


def _key(facts: Facts) -> Step:
    named = (("API key", facts.key), ("Team", facts.team))
    links = [
        each._replace(text=f"{kind} {each.text}") for kind, each in named if isinstance(each, Link)
    ]
    said = f"The key {_text(facts.key)} of the team {_text(facts.team)} is good."
    return Step("The API key", [said], links=links)


def _permission(facts: Facts, told: Told) -> Step:
    said = [f"It may use the endpoint {facts.operation}."]
    if told.get("model") or "tokens" in told:
        said = [f"It may use the endpoint {facts.operation}, and the model {facts.model_asked}."]
    served = told.get("model")
    if served and served != facts.model_asked:
        said.append(f"That is served by the model {served}.")
    for left, code in told.get("left", ()):
        said.append(f"The model {left} did not serve it ({_plain(code)}), so another one did.")
    for unable, code in told.get("unable", ()):
        said.append(f"The model {unable}, named to serve it instead, could not ({_plain(code)}).")
    return Step("Permission", said)


def _size(told: Told) -> str:
    if "tokens" not in told:
        return "It could be read."
    asked, most = told["tokens"]
    bound = f"allows {most:,} of output" if most else "names no bound of its output"
    tokens = "1 token" if asked == 1 else f"{asked:,} tokens"
    return f"It has about {tokens} of input and {bound}."


def _routes(told: Told, facts: Facts) -> Step:
    dropped = [each for each in told.get("dropped", ()) if not _is_for_now(each)]
    held = told.get("policies", ())
    said = [f"Policies that hold: {', '.join(held)}."] if held else ["No policy holds."]
    if not dropped:
        said.append("Every route of the model may serve it.")
    if told.get("parameters"):
        said.append(f"Left out of what was sent on: {', '.join(told['parameters'])}.")
    step = Step("The routes", said)
    step.tell(*_left_out(dropped, facts))
    return step


def _limits(told: Told) -> Step:
    rows = [_limit(number, each, told) for number, each in enumerate(told.get("limits", ()))]
    step = Step("Limits", _none(rows, told, "There is no limit to keep to."))
    if told.get("degraded"):
        step.said.append("Redis did not answer: this instance counted its share by itself.")
    step.tell(("Limit", "Whose", "Used", "Left", "Whole again"), rows, "Each with its counter")
    return step


def _none(rows: Sequence[Any], told: Told, words: str) -> list[str]:
    """What is said where there is nothing to keep to, and somebody has looked."""
    return [words] if "hold" in told and not rows else []


def _limit(number: int, each: Sequence[Any], told: Told) -> list[Cell]:
    pk, scope, metric, window_s, amount, model, used, newest = each
    limit = Limit(pk, scope, metric, window_s, amount, model)
    whole_us = whole_after_us(limit, newest, told["at"])
    refuses = " (refuses)" if told.get("refused_by") == number else ""
    if used < 0:
        return [_rule(limit, refuses), _whose(scope), "not asked", "not asked", ""]
    return [
        _rule(limit, refuses),
        _whose(scope),
        f"{used:,} of {amount:,}",
        f"{max(amount - used, 0):,}",
        f"in {wording.go_duration(whole_us)}" if whole_us else "",
    ]


def _rule(limit: Limit, refuses: str) -> Link:
    return Link(wording.rule(limit) + refuses, "accounts.ratelimit", limit.id)


def _budgets(told: Told) -> Step:
    first = len(told.get("limits", ()))
    rows = [
        _budget(number, each, told.get("refused_by"))
        for number, each in enumerate(told.get("budgets", ()), first)
    ]
    step = Step("Budgets and the hold", _none(rows, told, "There is no budget to keep to."))
    if rows:
        holds = "would hold" if "refused_by" in told else "holds"
        step.said.append(f"The request {holds} {dollars(told['hold'])} until it has ended.")
    columns = ("Budget", "Whose", "Amount", "Spent", "Held", "Left", "Begins anew (UTC)")
    step.tell(columns, rows, "Each with its counters")
    return step


def _budget(number: int, each: Sequence[Any], refused_by: int | None) -> list[Cell]:
    pk, scope, period, rolls, hard, amount, spent, held, end = each
    name = wording.LENGTHS[period] if rolls else wording.PERIODS[period]
    kind = "hard" if hard else "soft"
    refuses = " (refuses)" if refused_by == number else ""
    known = spent >= 0
    return [
        Link(f"{name}, {kind}{refuses}", "accounts.budget", pk),
        _whose(scope),
        dollars(amount),
        dollars(spent) if known else "not asked",
        dollars(held) if known else "not asked",
        dollars(max(amount - spent - held, 0)) if known else "",
        f"{from_us(end):%Y-%m-%d %H:%M}" if 0 < end < FOREVER_US else "never" if end else "rolls",
    ]


def _order(told: Told, facts: Facts) -> Step:
    step = Step("The order of the routes")
    if "strategy" in told:
        step.said.append(f"Strategy: {_plain(told['strategy'])}.")
    if "session" in told:
        kept = "is kept at one route" if told["session"] else "names no session to be kept together"
        step.said.append(f"Requests of one session go together: this one {kept}.")
    if told.get("last_resort"):
        step.said.append("Every target is out, so those that may be called at all are tried.")
    targets = enumerate(told.get("targets", ()), 1)
    rows = [[str(number), *_target(each, facts)] for number, each in targets]
    step.tell(("#", "Provider", "Upstream model", "Key"), rows, "Targets in their order")
    step.tell(*_left_out(filter(_is_for_now, told.get("dropped", ())), facts))
    return step


def _left_out(dropped: Iterable[Sequence[Any]], facts: Facts) -> Any:
    """The arguments of a table of targets that were left out."""
    columns = ("Provider", "Upstream model", "Key", "Why", "Until", "Policy")
    rows = [
        [*_target(each, facts), f"{words_of(each[5])} [{each[5]}]", _until(each[6]), each[7]]
        for each in dropped
    ]
    return columns, rows, "Left out"


def _target(each: Sequence[Any], facts: Facts) -> list[Cell]:
    _, key, provider, name, upstream_model = each[:5]
    key_name = facts.key_names.get(key, f"key {key}") if key else "none needed"
    return [Link(name, "registry.provider", provider), upstream_model, key_name]


def _is_for_now(dropped: Sequence[Any]) -> bool:
    return dropped[5] not in FOR_GOOD


#: Reasons that have nothing to do with the moment.
FOR_GOOD = frozenset({
    "not_priced", "keeps_no_state", "cannot_serve",
    "not_pinned", "excluded", "not_certified", "too_expensive",
})  # fmt: skip


def _until(for_s: float | None) -> str:
    return "" if for_s is None else f"for {wording.go_duration(max(int(for_s * 1e6), 0))}"


def _calls(facts: Facts) -> Step:
    step = Step("Upstream calls")
    rows = [
        [
            str(number),
            f"{call.provider_name} / {call.upstream_model}",
            call.key_name,
            _outcome(call),
            f"{call.total_ms:,} ms",
            dollars(call.cost_nano),
            _next(number, call, facts),
        ]
        for number, call in enumerate(facts.calls, 1)
    ]
    columns = ("#", "Provider / model", "Key", "Outcome", "Took", "Cost", "And then")
    step.tell(columns, rows, "Calls in their order")
    if not facts.calls[-1].answered:
        step.mark = Mark.FAILED
    elif failed := len(facts.calls) - 1:
        step.mark = Mark.RECOVERED
        calls = "1 call" if failed == 1 else f"{failed} calls"
        step.said.append(f"{calls} failed, and call {failed + 1} answered.")
    return step


def _outcome(call: Call) -> str:
    told = "answered" if call.outcome == "ok" else _plain(call.outcome)
    return f"{told}, in {call.sent} calls" if call.sent > 1 else told


def _next(number: int, call: Call, facts: Facts) -> str:
    if number == len(facts.calls):
        return _last(call)
    following = facts.calls[number]
    same = (following.provider_name, following.upstream_model) == (
        call.provider_name,
        call.upstream_model,
    )
    return "it may pass: the same again" if same else "the next target"


def _last(call: Call) -> str:
    if call.answered:
        return "the client got it"
    return "the client got what had come" if call.received else "nothing else was tried"


def _end(facts: Facts, told: Told) -> Step:
    if facts.outcome == "ok":
        said = [f"The answer is complete. It costs {dollars(facts.cost_nano)}."]
        return Step("The end", said)
    said = [f"It ended as {_plain(facts.outcome)}: {facts.end_reason.lower()}."]
    if facts.cost_nano:
        said.append(f"It costs {dollars(facts.cost_nano)} all the same.")
    return Step("The end", said, mark=Mark.FAILED)


def _whose(scope: str) -> str:
    return SCOPES.get(scope.partition(":")[0], scope)


def _plain(code: str) -> str:
    return code.replace("_", " ")


def _text(cell: Cell) -> str:
    return cell.text if isinstance(cell, Link) else cell
