"""What both halves of Anthropic's format share: errors, named events, reasons to stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.base import Json, mapping
from lib.errors import CourierError

#: The version of the API that Courier speaks where the client names none.
API_VERSION = "2023-06-01"
#: How Anthropic names what a status means (docs.claude.com/en/api/errors).
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
#: What an error inside a stream would have been as a status.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
#: Canonical reasons to stop, by Anthropic's.
FINISHED = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
#: Courier's own reasons, such as a budget that is used up, are bounds too: clients check
#: the field against Anthropic's list.
STOPPED_EARLY = "max_tokens"


def write_error(error: CourierError, request_id: str) -> bytes:
    """The body of an error answer."""
    return orjson.dumps(_error_body(error, request_id))


def error_frame(error: CourierError, request_id: str) -> bytes:
    """An error inside a stream."""
    return event_frame("error", _error_body(error, request_id))


def _error_body(error: CourierError, request_id: str) -> Json:
    told: Json = {"type": _type_of(error.status), "message": error.message}
    # Beside Anthropic's fields, for programs that know Courier's codes.
    told |= {"code": error.code} if error.code else {}
    told |= {"param": error.param} if error.param else {}
    named = {"request_id": request_id} if error.tells_request_id else {}
    return {"type": "error", "error": told, **named}


def _type_of(status: int) -> str:
    return _TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")


def event_frame(name: str, data: Json) -> bytes:
    """A named event of a stream."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


def failure_of(event: Mapping[str, Any]) -> Json:
    """The error in an `error` event, with the status that its type stands for."""
    error = event.get("error")
    if not isinstance(error, dict):
        return {"message": str(error)}
    status = _STATUS.get(str(error.get("type")))
    return {**error, "status": status} if status else error


def is_error(event: Mapping[str, Any]) -> bool:
    """Whether an event reports a failure: Anthropic's own, or one of a server like it."""
    return event.get("type") == "error" or bool(mapping(event.get("error")))
