"""Errors as Google's APIs write them (google.rpc.Status in JSON; google.aip.dev/193)."""

from __future__ import annotations

import orjson

from gateway.dialects.base import Json
from lib.errors import CourierError

_TYPE = "type.googleapis.com/google.rpc."
#: google.rpc.Code of each HTTP status.
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def write_error(error: CourierError, request_id: str) -> bytes:
    """The body of an error answer, or the data of an error in a stream."""
    named = f" (request id: {request_id})" if error.tells_request_id else ""
    return orjson.dumps(
        {
            "error": {
                "code": error.status,
                "message": error.message + named,
                "status": _status(error.status),
                "details": _details(error),
            }
        }
    )


def _status(status: int) -> str:
    return _STATUSES.get(status) or ("INTERNAL" if status >= 500 else "FAILED_PRECONDITION")


def _details(error: CourierError) -> list[Json]:
    reason = (error.code or error.type).upper()
    details: list[Json] = [{"@type": _TYPE + "ErrorInfo", "reason": reason, "domain": "courier"}]
    if error.param:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _TYPE + "BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        # A duration in ProtoJSON: seconds with an s.
        delay = f"{max(error.retry_after, 0.0):.3f}".rstrip("0").rstrip(".")
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{delay}s"})
    return details
