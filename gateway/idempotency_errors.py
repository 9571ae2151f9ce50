"""Why a request with an Idempotency-Key is not answered."""

from __future__ import annotations

from gateway.errors import BadRequest
from lib.errors import CourierError


class InvalidIdempotencyKey(BadRequest):
    code = "invalid_idempotency_key"

    def __init__(self) -> None:
        super().__init__("Idempotency-Key must be one header of 1 to 255 visible ASCII characters.")


class IdempotencyNotSupported(BadRequest):
    """A form is passed on while it comes, so it cannot be compared with another first."""

    code = "idempotency_not_supported"

    def __init__(self) -> None:
        super().__init__("Forms cannot be sent with an Idempotency-Key. Leave the header out.")


class IdempotencyConflict(CourierError):
    """The caller has sent something else with this key."""

    status = 422
    type = "invalid_request_error"
    code = "idempotency_conflict"
    should_retry = False

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was sent with another request. Make a new key for each request, "
            "and repeat a request byte by byte."
        )


class IdempotencyInProgress(CourierError):
    """The first request with this key is being answered by another instance."""

    status = 409
    type = "invalid_request_error"
    code = "idempotency_in_progress"

    def __init__(self) -> None:
        super().__init__(
            "The first request with this Idempotency-Key is still being answered. Ask again.",
            retry_after=1,
        )


class OutcomeNotKept(CourierError):
    """The answer was given and charged, and is not here to be given again."""

    status = 409
    type = "invalid_request_error"
    code = "idempotency_outcome_not_kept"
    should_retry = False

    def __init__(self) -> None:
        super().__init__(
            "The first request with this Idempotency-Key was charged, and its answer was not kept. "
            "Use a new key to ask, and pay, again."
        )


class OutcomeUnknown(CourierError):
    """The instance that answered has died."""

    status = 409
    type = "invalid_request_error"
    code = "idempotency_outcome_unknown"
    should_retry = False

    def __init__(self) -> None:
        super().__init__(
            "The first request with this Idempotency-Key was cut off; what it used is in the log. "
            "Use a new key to ask, and pay, again."
        )


class IdempotencyUnavailable(CourierError):
    """Nobody can tell at the moment whether this was asked before."""

    status = 503
    code = "idempotency_unavailable"

    def __init__(self) -> None:
        super().__init__("Idempotency keys cannot be checked at the moment.", retry_after=1)
