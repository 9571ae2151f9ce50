"""What is tried after a failure: one table, from what went wrong to what may help. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from gateway import errors
from gateway.errors import UpstreamError
from registry.snapshot import Target

#: How long a rate-limited target is left alone when it does not say, and any at most. Seconds.
DEFAULT_PAUSE_S = 5.0
LONGEST_PAUSE_S = 3600.0


class Recovery(Enum):
    """What may help after a failure. Only those with a pause come back to the same target."""

    NONE = "nothing: the request itself is at fault, or an answer has begun"
    PAUSE = "other keys and routes; the same one once the pause that it asked for is over"
    BACKOFF = "other routes, then other keys; the same one after a pause with full jitter"
    NEXT_ROUTE = "other routes, then other keys; never the same one again"
    NEXT_KEY = "other keys and routes; never the same key again"


#: By class of the failure; a subclass that is not named counts as the class above it.
RECOVERY: Mapping[type[UpstreamError], Recovery] = {
    errors.UpstreamRejected: Recovery.NONE,
    errors.StreamInterrupted: Recovery.NONE,
    errors.UpstreamRateLimited: Recovery.PAUSE,
    errors.UpstreamUnavailable: Recovery.BACKOFF,
    errors.UpstreamUnreachable: Recovery.BACKOFF,
    errors.UpstreamModelMissing: Recovery.NEXT_ROUTE,
    errors.UpstreamTlsFailed: Recovery.NEXT_ROUTE,
    errors.UpstreamTimeout: Recovery.NEXT_ROUTE,
    errors.UpstreamBadResponse: Recovery.NEXT_ROUTE,
    errors.UpstreamRedirect: Recovery.NEXT_ROUTE,
    errors.UpstreamAuthFailed: Recovery.NEXT_KEY,
    errors.UpstreamError: Recovery.NEXT_ROUTE,
}


def recovery_from(error: UpstreamError) -> Recovery:
    """What may help after this failure."""
    if error.is_last:
        return Recovery.NONE
    return next(RECOVERY[kind] for kind in type(error).__mro__ if kind in RECOVERY)


#: What a provider may say of a model that it does not have.
_OF_THE_NAME = errors.UpstreamModelMissing | errors.UpstreamForbidden


def is_the_targets(error: UpstreamError, target: Target) -> bool:
    """Whether the target has failed. The client's own faults say nothing about it.

    Behind a wildcard that is a model's name, too: one that does not exist takes no other out.
    """
    if target.is_named_by_client and isinstance(error, _OF_THE_NAME):
        return False
    return not isinstance(error, errors.UpstreamRejected)


def asked_pause_s(error: UpstreamError) -> float | None:
    """Seconds that the target is to be left alone, by its own word or by default; None: none."""
    if error.retry_after is not None:
        return min(error.retry_after, LONGEST_PAUSE_S)
    is_limit = isinstance(error, errors.UpstreamRateLimited) and error.should_retry is not False
    return DEFAULT_PAUSE_S if is_limit else None
