"""What can go wrong with one request, and what may be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lib.errors import CourierError

if TYPE_CHECKING:
    from gateway.metering import Metered


class BadRequest(CourierError):
    """The request's own fault. `param` names the field."""

    status = 400
    type = "invalid_request_error"
    code: ClassVar[str | None] = None


class UnsupportedParameter(BadRequest):
    code = "unsupported_parameter"


class HostNotAllowed(BadRequest):
    """The request names another server than this one."""

    code = "host_not_allowed"

    def __init__(self) -> None:
        super().__init__(
            "This server does not answer to that name. Correct the base URL, or have it added "
            "to COURIER_ALLOWED_HOSTS."
        )


class ResponseNotKept(CourierError):
    """Somebody asks for an answer that was given before."""

    status = 404
    type = "invalid_request_error"
    code = "response_not_kept"


class ContextLengthExceeded(BadRequest):
    """The request and the answer that it asks for surely do not fit into any route's model."""

    code = "context_length_exceeded"
    should_retry = False


class BadForm(BadRequest):
    """The request's form cannot be read."""

    code = "malformed_form"


class NotAllowed(CourierError):
    """The key is good, but not for this model."""

    status = 403
    type = "invalid_request_error"
    code = "model_not_allowed"


class EndpointNotAllowed(NotAllowed):
    code = "endpoint_not_allowed"


class ModelNotFound(CourierError):
    status = 404
    type = "invalid_request_error"
    code = "model_not_found"


class ModelNotPriced(BadRequest):
    """Nobody knows what the model costs, so that no budget could hold."""

    code = "model_not_priced"
    should_retry = False


class RefusedByPolicy(CourierError):
    """Routing policies leave no route for the request."""

    status = 403
    type = "invalid_request_error"
    code = "refused_by_policy"
    should_retry = False


class TooManyUnknownKeys(CourierError):
    """One address has tried many different keys that are none."""

    status = 429
    type = "requests"
    code = "too_many_unknown_keys"
    # The same bytes for every key, whether it is good or not.
    tells_request_id = False

    def __init__(self, retry_after: float) -> None:
        super().__init__(
            "Too many different API keys that are none came from this address. Try again later.",
            retry_after=retry_after,
        )


class UnknownUrl(CourierError):
    status = 404
    type = "invalid_request_error"
    code = "unknown_url"


class MethodNotAllowed(CourierError):
    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class RequestTimeout(CourierError):
    """The client took too long to send its body."""

    status = 408
    type = "timeout"
    code = "request_timeout"


class RequestTooLarge(CourierError):
    status = 413
    type = "invalid_request_error"
    code = "request_too_large"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"The request's body is larger than {most} bytes. Make it smaller, or have "
            "COURIER_MAX_BODY raised, for forms COURIER_MAX_UPLOAD."
        )


class UnsupportedEncoding(CourierError):
    """The body is compressed, or not JSON."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class InternalError(CourierError):
    """A bug of Courier's. It is logged with the request id; the client learns nothing of it."""


class ShuttingDown(CourierError):
    status = 503
    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("Courier is restarting. Ask again.", retry_after=1)


class NotReady(CourierError):
    """The configuration has not been loaded yet."""

    status = 503
    code = "not_ready"


class Overloaded(CourierError):
    """More is asked than this process can answer in time."""

    status = 503
    code = "overloaded"

    def __init__(self, retry_after: float) -> None:
        super().__init__("Courier is overloaded. Ask again.", retry_after=retry_after)


class LedgerUnavailable(CourierError):
    """What was used cannot be read at the moment."""

    status = 503
    code = "ledger_unavailable"

    def __init__(self) -> None:
        super().__init__("The ledger cannot be read at the moment. Ask again.", retry_after=1)


class UploadsUnavailable(CourierError):
    """The disk has no room for an upload that has to be kept before it can be sent."""

    status = 503
    code = "uploads_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "Uploads whose model comes behind their file cannot be kept at the moment. "
            "Send the field 'model' first, or ask again later."
        )


class ClientStalled(CourierError):
    """The client has not read for too long."""

    code = "client_stalled"


class BudgetUsedUp(CourierError):
    """A budget does not cover the rest of a stream, which ends cleanly for this reason."""

    status = 429
    type = "insufficient_quota"
    code = "budget_exceeded"
    should_retry = False
    reason: ClassVar[str] = "budget_exceeded"

    def __init__(self) -> None:
        super().__init__("The budget does not cover the rest of this answer.")


class UpstreamError(CourierError):
    """An attempt failed. `gateway.recovery` says whether another may help."""

    status = 502
    code: ClassVar[str | None] = "upstream_error"
    #: Whether nothing else may be tried, whatever would help otherwise.
    is_last: bool = False
    #: Whether the provider had begun to work, and may charge for it although it failed.
    may_have_cost: ClassVar[bool] = False
    #: Whether somebody may be at the provider's place, or at Courier's keys.
    concerns_security: ClassVar[bool] = False
    #: What has to be paid for all the same, where that is known better.
    paid: Metered | None = None
    #: Whether the upstream was called at all: what was not is no attempt.
    was_called: ClassVar[bool] = True

    def is_final(self) -> None:
        """Nothing else is tried: what was asked has left, and cannot be sent again."""
        self.is_last = True
        self.message += " The upload was passed on as it came, so only its sender can try again."


class NoAvailableTarget(UpstreamError):
    """The model has no route that could be tried."""

    status = 503
    code = "no_available_target"


class NotCertified(NoAvailableTarget):
    """Every route of the model demands a certification that is missing."""

    code = "not_certified"


class UpstreamRejected(UpstreamError):
    """The provider refused the request itself. Its words are meant for the client."""

    status = 400
    type = "invalid_request_error"
    code = None

    def __init__(self, message: str, *, status: int, code: str | None, param: str | None) -> None:
        super().__init__(message, param=param)
        # What the client did wrong is the provider's to say: these vary with each refusal.
        self.status = status  # type: ignore[misc]
        self.code = code


class RequestTooLong(UpstreamRejected):
    """The request does not fit into the model; another's context window may be larger."""


class ContentRefused(UpstreamRejected):
    """The provider's rules do not allow the content; another's may."""


class UpstreamModelMissing(UpstreamError):
    """The route names a model that the provider does not have."""

    code = "upstream_model_missing"


class UpstreamAuthFailed(UpstreamError):
    """The provider refused Courier's own key: never the client's problem to fix."""

    code = "upstream_auth_failed"
    concerns_security = True


class UpstreamOutOfCredit(UpstreamAuthFailed):
    """The key is good, and its account has no money or quota: somebody has to pay."""


class UpstreamForbidden(UpstreamAuthFailed):
    """A 403 that does not say whether the key, the model or the request is meant."""

    #: Whether it came in the provider's own form, and not from something on the way to it.
    is_in_its_words: bool = True


class UpstreamRateLimited(UpstreamError):
    status = 429
    type = "rate_limit_error"
    code = "upstream_rate_limited"


class KeyAtItsLimit(UpstreamRateLimited):
    """A limit or the budget that administrators gave an upstream key has no room."""

    was_called: ClassVar[bool] = False


class TooLargeForKey(KeyAtItsLimit):
    """The request alone is larger than the key's limit on tokens: waiting does not help."""

    should_retry: ClassVar[bool | None] = False


class KeyLimitsUnknown(UpstreamError):
    """Nobody can tell what is left of an upstream key's limits or budget."""

    status = 503
    code = "limits_unavailable"
    was_called: ClassVar[bool] = False


class UpstreamUnavailable(UpstreamError):
    status = 503
    code = "upstream_unavailable"


class UpstreamBrokeOff(UpstreamUnavailable):
    """The provider had begun its answer, and the connection ended in the middle."""

    may_have_cost = True


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"


class UpstreamTlsFailed(UpstreamError):
    code = "upstream_tls"
    concerns_security = True


class UpstreamTimeout(UpstreamError):
    status = 504
    type = "timeout"
    code = "upstream_timeout"
    may_have_cost = True


class UpstreamConnectTimeout(UpstreamTimeout):
    """No connection in time: the provider has not seen the request."""

    may_have_cost = False


class UpstreamBadResponse(UpstreamError):
    """The provider answered with something that is not an answer."""

    code = "upstream_bad_response"
    may_have_cost = True


class UpstreamRedirect(UpstreamError):
    """The provider pointed elsewhere. Courier goes only where its configuration says."""

    code = "upstream_redirect"
    concerns_security = True


class StreamInterrupted(UpstreamError):
    """The stream broke after its first output reached the client. Nothing is tried again."""

    code = "stream_interrupted"
    may_have_cost = True


class UpstreamStalled(StreamInterrupted):
    """No event came for too long, or the whole answer took too long."""

    status = 504
    type = "timeout"
    code = "upstream_stalled"
