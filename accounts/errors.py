"""Why a caller is refused. Each text is for the client and tells nothing about other keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lib.errors import CourierError

if TYPE_CHECKING:
    from accounts.admission import Weighed


class InvalidApiKey(CourierError):
    """Missing, malformed, unknown, revoked, disabled or expired: nobody learns which."""

    status: ClassVar[int] = 401
    type: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str | None] = "invalid_api_key"
    # The same bytes for every key that is no good.
    tells_request_id: ClassVar[bool] = False

    def __init__(self, message: str = "Incorrect API key provided.") -> None:
        super().__init__(message)


class KeyInUrl(InvalidApiKey):
    """A key in a URL is in the logs of every machine on the way. It is not even looked at."""

    def __init__(self) -> None:
        super().__init__(
            "Send the API key in the header x-goog-api-key, never in the URL. "
            "A key that has been in one should be replaced."
        )


class IdentityUnavailable(CourierError):
    """The key is not in memory and the database does not answer: neither yes nor no."""

    status: ClassVar[int] = 503
    code: ClassVar[str | None] = "identity_unavailable"

    def __init__(self) -> None:
        super().__init__("API keys cannot be checked at the moment. Try again.", retry_after=1)


class LimitsUnavailable(CourierError):
    """The caller has limits or budgets, and nobody can tell at the moment what is left."""

    status: ClassVar[int] = 503
    code: ClassVar[str | None] = "limits_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "Limits and budgets cannot be checked at the moment. Try again.", retry_after=1
        )


class OverLimit(CourierError):
    """A limit or a budget refuses."""

    #: What was asked, and what the store said; see `accounts.admission`.
    weighed: Weighed | None = None


class RateLimited(OverLimit):
    """A limit on requests, or on requests at the same time, is reached."""

    status: ClassVar[int] = 429
    type: ClassVar[str] = "requests"
    code: ClassVar[str | None] = "rate_limit_exceeded"


class TokensLimited(RateLimited):
    """A limit on tokens is reached."""

    type: ClassVar[str] = "tokens"


class RequestTooLargeForLimit(TokensLimited):
    """The request alone is larger than a limit on tokens: waiting does not help."""

    should_retry: ClassVar[bool | None] = False


class BudgetExhausted(OverLimit):
    """A budget has no room for the request, whatever becomes of those that are running."""

    status: ClassVar[int] = 429
    type: ClassVar[str] = "insufficient_quota"
    code: ClassVar[str | None] = "insufficient_quota"
    should_retry: ClassVar[bool | None] = False


class BudgetHeld(OverLimit):
    """A budget has room for the request only if running ones cost less than they may."""

    status: ClassVar[int] = 429
    type: ClassVar[str] = "requests"
    code: ClassVar[str | None] = "budget_held"
