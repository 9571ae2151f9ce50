"""Errors, written in the format of the client that asked."""

from __future__ import annotations

import math
import re

from django.http import HttpResponse

from gateway.dialects.anthropic_messages import anthropic_messages
from gateway.dialects.base import ClientDialect
from gateway.dialects.gemini_generate import gemini_generate
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_responses import openai_responses
from gateway.dialects.rerank import rerank
from gateway.question import Caller
from lib.errors import CourierError

#: Whose clients call which path, before anything else is known of a request. All others'
#: errors are read by clients of OpenAI's.
CLIENTS: tuple[tuple[re.Pattern[str], ClientDialect], ...] = (
    (re.compile(r"/v1/messages(/|$)"), anthropic_messages),
    (
        # Only what follows the last colon is looked at, however many a stranger writes.
        re.compile(r"/v1beta/|/v1/(?:models|tunedModels)/(?>.+:)[a-z]+(?:[A-Z][a-z]+)+$"),
        gemini_generate,
    ),
    (re.compile(r"/v1/responses(/|$)"), openai_responses),
    (re.compile(r"/v[12]/rerank$"), rerank),
)


class Refusal(HttpResponse):
    """The answer that tells a client of an error."""

    def __init__(self, error: CourierError, dialect: ClientDialect, request_id: str) -> None:
        super().__init__(
            dialect.write_error(error, request_id),
            status=error.status,
            content_type="application/json",
            headers=_headers(error),
        )
        self._told = (error, request_id)
        self._dialect = dialect

    @property
    def frame(self) -> bytes:
        """The same, where a stream has begun before there was an answer."""
        return self._dialect.error_frame(*self._told)


def refusal(error: CourierError, path: str, caller: Caller) -> Refusal:
    """The answer that tells a client of `error`."""
    return Refusal(error, dialect_of(path), str(caller.request_id))


def _headers(error: CourierError) -> dict[str, str]:
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(max(math.ceil(error.retry_after), 1))
    if error.should_retry is not None:
        headers["x-should-retry"] = str(error.should_retry).lower()
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return headers


def dialect_of(path: str) -> ClientDialect:
    """The format of the clients that call this path: a stranger's, so nothing of it is kept."""
    return next((dialect for calls, dialect in CLIENTS if calls.match(path)), openai_chat)
