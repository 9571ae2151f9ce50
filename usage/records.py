"""One request as the spool holds it: a record, and its encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from lib.tokens import TokenUsage
from usage import frames

LONGEST_TEXT = 200
LARGEST_NUMBER = 2**63 - 1


@dataclass(slots=True)
class Attempt:
    """One attempt of a request at an upstream, as `UsageAttempt` keeps it."""

    started_at: datetime
    provider_name: str
    upstream_model: str
    outcome: str
    received: bool = False
    #: Requests that were sent upstream for it: a batch is sent in parts, and what a dead
    #: connection has lost is sent again.
    calls: int = 1
    route_id: int | None = None
    upstream_key_id: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    usage_source: str = "none"
    cost_nano: int | None = None
    price_id: int | None = None
    total_ms: int = 0


@dataclass(slots=True)
class Record:
    """One request as known so far: a field for each column that the recorder's caller fills.

    What is not told otherwise says that Courier was interrupted, which is what a record
    means if it is never closed.
    """

    request_id: UUID
    started_at: datetime
    key_id: int
    key_name: str
    team_id: int
    team_name: str
    operation: str
    streamed: bool
    model_asked: str
    user_id: int | None = None
    user_name: str = ""
    model_served: str = ""
    provider_name: str = ""
    upstream_model: str = ""
    attempts: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    images: int = 0
    search_units: int = 0
    usage_source: str = "none"
    cost_nano: int | None = None
    provider_cost_nano: int | None = None
    markup_bp: int = 0
    price_id: int | None = None
    first_token_ms: int | None = None
    total_ms: int = 0
    outcome: str = "interrupted"
    end_reason: str = "interrupted"
    status: int = 0
    client_request_id: str = ""
    trace_id: str = ""
    #: Labels, sorted, with commas between.
    tags: str = ""
    #: The revision of the configuration that it was served under.
    revision: int | None = None
    #: The upstream calls that were made for it, in their order.
    tries: list[Attempt] = field(default_factory=list)
    #: Why it went as it did, in the words of `gateway.decision`.
    decision: Mapping[str, Any] | None = None

    def count(self, usage: TokenUsage) -> None:
        """Take over what was used."""
        self.input_tokens = usage.input_tokens
        self.cached_input_tokens = usage.cached_input_tokens
        self.cache_write_tokens = usage.cache_write_tokens
        self.output_tokens = usage.output_tokens
        self.reasoning_tokens = usage.reasoning_tokens
        self.cache_write_1h_tokens = usage.cache_write_1h_tokens
        self.audio_input_tokens = usage.audio_input_tokens
        self.audio_output_tokens = usage.audio_output_tokens
        self.images = usage.images
        self.search_units = usage.search_units


@dataclass(slots=True)
class Refusal:
    """A request that was not admitted: a field for each column of its decision."""

    request_id: UUID
    refusal: str
    status: int
    key_id: int
    key_name: str
    team_id: int
    team_name: str
    operation: str
    model_asked: str
    decision: Mapping[str, Any]


def encoded(kind: bytes, content: object) -> bytes:
    """The payload of one record. What JSON or the format cannot hold is made to fit."""
    try:
        payload = kind + orjson.dumps(content, option=orjson.OPT_NAIVE_UTC)
    except orjson.JSONEncodeError:
        payload = b""
    if payload and len(payload) <= frames.LONGEST:
        return payload
    fitted = _fitted(content)
    payload = kind + orjson.dumps(fitted, option=orjson.OPT_NAIVE_UTC)
    if len(payload) > frames.LONGEST:
        # These only explain: the record itself must be written down.
        bare = fitted | {"tries": [], "decision": None}
        payload = kind + orjson.dumps(bare, option=orjson.OPT_NAIVE_UTC)
    return payload


def _fitted(value: Any) -> Any:
    """Text without lone surrogates and no longer than any column; numbers of 64 bits."""
    match value:
        case str():
            return value[:LONGEST_TEXT].encode("utf-8", "replace").decode()
        case int():
            return max(min(value, LARGEST_NUMBER), -LARGEST_NUMBER)
        case list() | tuple():
            return [_fitted(item) for item in value]
        case Mapping():
            return {name: _fitted(item) for name, item in value.items()}
    return _fitted(asdict(value)) if is_dataclass(value) else value  # type: ignore[arg-type]
