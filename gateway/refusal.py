"""Errors, written in the format of the client that asked."""

from __future__ import annotations

import math

from django.http import HttpResponse

from gateway.dialects.base import ClientDialect
from gateway.dialects.openai_chat import openai_chat
from gateway.question import Caller
from lib.errors import CourierError


def refusal(error: CourierError, path: str, caller: Caller) -> HttpResponse:
    """The answer that tells a client of `error`."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(max(math.ceil(error.retry_after), 1))
    if error.should_retry is not None:
        headers["x-should-retry"] = str(error.should_retry).lower()
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return HttpResponse(
        dialect_of(path).write_error(error, str(caller.request_id)),
        status=error.status,
        content_type="application/json",
        headers=headers,
    )


def dialect_of(path: str) -> ClientDialect:
    """The format of the clients that call this path."""
    return openai_chat
