"""Refusals and limits in words, and the headers that tell them in OpenAI's form."""

from __future__ import annotations

import math
from decimal import Decimal
from zoneinfo import ZoneInfo

from accounts.budgets import resets_at
from accounts.errors import (
    BudgetExhausted,
    BudgetHeld,
    OverLimit,
    RateLimited,
    RequestTooLargeForLimit,
    TokensLimited,
)
from accounts.limits import CONCURRENCY, TOKENS, Verdict, whole_after_us
from accounts.models import RateLimit
from accounts.rules import BudgetRule, Limit, Need, Rules

WINDOWS = {int(window): str(label) for window, label in RateLimit.Window.choices}
SCOPES = {
    "key": "this key",
    "team": "this key's team",
    "user": "this key's owner",
    "upstream": "an upstream key",
}
NOUNS = {"input_tokens": "input token", "output_tokens": "output token", "tokens": "token"}
PERIODS = {"day": "daily", "week": "weekly", "month": "monthly", "total": "total"}
LENGTHS = {"day": "24 hours", "week": "7 days", "month": "30 days"}


def too_large(limit: Limit, tokens: int) -> RequestTooLargeForLimit:
    smaller = "the prompt" if limit.metric == "input_tokens" else "the prompt or max_tokens"
    smaller = "max_tokens" if limit.metric == "output_tokens" else smaller
    return RequestTooLargeForLimit(
        f"This request needs about {tokens} {_noun(limit, tokens)}, more than the limit for "
        f"{_holder(limit.scope)}: {rule(limit)}. Make {smaller} smaller."
    )


def refusal(rules: Rules, need: Need, verdict: Verdict) -> OverLimit:
    """Why a store refuses, and when to come back."""
    error: OverLimit
    index = verdict.refused - len(rules.limits)
    if index >= 0:
        error = _budget_refusal(rules.budgets[index], index, need, verdict)
    else:
        error = _limit_refusal(rules.limits[verdict.refused], verdict)
    error.headers = headers(rules, verdict)
    if isinstance(error, RateLimited):
        name = f"x-ratelimit-remaining-{error.type}"
        if name in error.headers:
            error.headers[name] = "0"
    return error


def _limit_refusal(limit: Limit, verdict: Verdict) -> RateLimited:
    kind = TokensLimited if limit.metric in TOKENS else RateLimited
    wait_s = verdict.wait_us / 1_000_000
    return kind(
        f"Rate limit reached for {_holder(limit.scope)}: {rule(limit)}. "
        f"Try again in {math.ceil(wait_s)} s.",
        retry_after=wait_s,
    )


def _budget_refusal(
    budget: BudgetRule, index: int, need: Need, verdict: Verdict
) -> BudgetExhausted | BudgetHeld:
    left = verdict.amounts[index] - verdict.spent[index]
    name = f"{_name(budget)} of {_dollars(verdict.amounts[index])} for {_holder(budget.scope)}"
    if need.cost_nano <= left:
        return BudgetHeld(
            f"The rest of the {name} is held for requests that are running. Try again in 1 s.",
            retry_after=verdict.wait_us / 1_000_000,
        )
    if left <= 0:
        told = f"The {name} is used up."
    else:
        told = (
            f"This request may cost {_dollars(need.cost_nano)}, and of the {name} "
            f"{_dollars(left)} is left."
        )
    wait_s = verdict.wait_us / 1_000_000 or None
    return BudgetExhausted(told + _comes_back(budget, verdict), retry_after=wait_s)


def _comes_back(budget: BudgetRule, verdict: Verdict) -> str:
    """When there is more of a budget. Empty if never."""
    end = resets_at(budget, verdict.now_us)
    if end is not None:
        local = end.astimezone(ZoneInfo(budget.time_zone))
        return f" It begins anew at {local:%Y-%m-%d %H:%M} ({budget.time_zone})."
    if budget.ring.slot_us:
        return f" There is more again in {math.ceil(verdict.wait_us / 60_000_000)} min."
    return ""


def _name(budget: BudgetRule) -> str:
    if budget.ring.slot_us:
        return f"budget per {LENGTHS[budget.period]}"
    return f"{PERIODS[budget.period]} budget"


def _dollars(nano: int) -> str:
    amount = Decimal(max(nano, 0)).scaleb(-9).normalize()
    return f"${amount:.2f}" if amount == round(amount, 2) else f"${amount:f}"


def headers(rules: Rules, verdict: Verdict) -> dict[str, str]:
    """The state of the tightest limits on requests and on tokens, as response headers."""
    told: dict[str, str] = {}
    for kind, (remaining, index) in _tightest(rules, verdict).items():
        limit = rules.limits[index]
        reset_us = whole_after_us(limit, verdict.newest[index], verdict.now_us)
        told[f"x-ratelimit-limit-{kind}"] = str(limit.amount)
        told[f"x-ratelimit-remaining-{kind}"] = str(max(remaining, 0))
        told[f"x-ratelimit-reset-{kind}"] = go_duration(reset_us)
    return told


def _tightest(rules: Rules, verdict: Verdict) -> dict[str, tuple[int, int]]:
    """Of requests and of tokens, the limit with the least left: how much, and its index."""
    tightest: dict[str, tuple[int, int]] = {}
    for index, limit in enumerate(rules.limits):
        if limit.metric == CONCURRENCY:
            continue
        kind = "tokens" if limit.metric in TOKENS else "requests"
        left = (limit.amount - verdict.used[index], index)
        if kind not in tightest or left < tightest[kind]:
            tightest[kind] = left
    return tightest


def go_duration(microseconds: int) -> str:
    """As Go writes and parses durations: `12ms`, `1s`, `6m0s`. Rounded up."""
    milliseconds = -(-microseconds // 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, seconds = divmod(-(-milliseconds // 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _holder(scope: str) -> str:
    return SCOPES[scope.partition(":")[0]]


def rule(limit: Limit) -> str:
    """The limit in words: "60 requests per minute for gpt-*"."""
    model = f" for {limit.model}" if limit.model else ""
    told = f"{limit.amount:,} {_noun(limit, limit.amount)}"
    if limit.metric == CONCURRENCY:
        return f"{told} at the same time{model}"
    window = WINDOWS.get(limit.window_s, f"per {limit.window_s} s")
    return f"{told} {window}{model}"


def _noun(limit: Limit, count: int) -> str:
    noun = NOUNS.get(limit.metric, "request")
    return noun if count == 1 else f"{noun}s"
