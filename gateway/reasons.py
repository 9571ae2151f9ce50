"""Why a target is left out, in words, by the codes of `Out` and `Dropped`."""

from __future__ import annotations

#: Each says something of a target: "It has no price…".
REASONS: dict[str, str] = {
    # Whatever policies say.
    "not_priced": "It has no price, and requests whose cost is unknown are not served.",
    "keeps_no_state": "It keeps no earlier answers or files, and the request refers to one.",
    "cannot_serve": "It lacks what the request needs, or the request is surely too long for it.",
    # Policies.
    "not_pinned": "A policy pins other routes.",
    "excluded": "A policy excludes it.",
    "not_certified": "A policy demands a certification that it has not passed.",
    "too_expensive": "The request may cost more there than a policy allows.",
    # For now: what staff have ordered.
    "drained": "Staff have drained it for a while.",
    "pinned_elsewhere": "Staff have pinned another route for a while.",
    # For now: the target.
    "breaker_open": "It failed too often lately: its breaker is open.",
    "probing": "Its breaker is half open, and another request is trying it out.",
    "throttled": "It refuses some of what it is sent, so it is sent less.",
    "rate_limited": "It said that it is at its rate limit, and for how long.",
    "asked_to_wait": "It asked to be left alone for a while.",
    # For now: its key.
    "key_refused": "The provider refuses its key until somebody enters another one.",
    "key_taken_out": "Staff have taken its key out until somebody puts it back.",
    "key_without_credit": "Its key has no credit left at the provider.",
    "key_rate_limited": "Its key is at the provider's rate limit.",
    "key_quota_used_up": "The provider says that the quota of its key is used up.",
    "key_budget_used_up": "The budget that its key has here is used up.",
    "model_not_permitted": "The provider does not let its key use this model.",
    # When it was its turn.
    "upstream_rate_limited": "When it was its turn, its key was at its own limit.",
    "limits_unavailable": "When it was its turn, nobody could tell what is left of its key.",
}


def words_of(reason: str) -> str:
    """The sentence for a code; of one that a newer Courier has written, the code itself."""
    return REASONS.get(reason) or f"{reason.replace('_', ' ').capitalize()}."
