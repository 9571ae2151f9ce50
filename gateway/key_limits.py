"""What one attempt takes of its upstream key's own limits and budget.

Claimed when the attempt begins, settled when it has ended, and counted where the limits of
callers are: one more round trip, and only for keys that have a limit or a budget.
"""

from __future__ import annotations

from uuid import uuid4

from accounts import admission
from accounts.admission import Reservation
from accounts.errors import (
    BudgetExhausted,
    BudgetHeld,
    LimitsUnavailable,
    RateLimited,
    RequestTooLargeForLimit,
)
from accounts.upstream_keys import rules_of
from gateway.bill import Bill
from gateway.errors import KeyAtItsLimit, KeyLimitsUnknown, TooLargeForKey
from registry.snapshot import Target
from usage.records import Attempt


async def claim(target: Target, bill: Bill) -> Reservation | None:
    """Hold what an attempt at `target` may use; None if its key has nothing to keep to.

    Raises KeyAtItsLimit or KeyLimitsUnknown, which are no failures of the upstream.
    """
    if target.key_id is None or not target.terms.is_counted:
        return None
    rules = rules_of(target.key_id, target.terms)
    try:
        return await admission.reserve(rules, uuid4().hex, bill.need_of_key(target))
    except RequestTooLargeForLimit as refusal:
        raise TooLargeForKey(
            "The request is larger than the upstream keys of this model allow."
        ) from refusal
    except (RateLimited, BudgetHeld, BudgetExhausted) as refusal:
        raise KeyAtItsLimit(
            "The upstream keys of this model have no room at the moment.",
            retry_after=refusal.retry_after,
        ) from refusal
    except LimitsUnavailable as refusal:
        raise KeyLimitsUnknown(
            "The limits of upstream keys cannot be checked at the moment. Try again.",
            retry_after=refusal.retry_after,
        ) from refusal


def settle(held: Reservation, attempt: Attempt) -> None:
    """Put what the attempt has used in place of what was held."""
    held.settle(
        input_tokens=attempt.input_tokens,
        output_tokens=attempt.output_tokens,
        cost_nano=attempt.cost_nano,
    )
