"""What a client asked, in its own words, and who it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from gateway.dialects.base import ClientDialect, Json
from gateway.reply import Reply
from gateway.upload import Upload

#: How a form says so.
LATE_STREAM = ("true", "True", "1")


@dataclass(slots=True, frozen=True)
class Question:
    """One request's body, with what Courier itself read of it. Never logged, never stored."""

    dialect: ClientDialect
    model: str
    raw: bytes = field(repr=False)
    body: Json = field(repr=False)
    wants_stream: bool = False
    #: Headers that the client's format has a meaning for, by their names in lower case.
    told: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Of a form, in the place of `raw`: what is sent on.
    upload: Upload | None = field(default=None, repr=False)

    @property
    def asks_late_for_stream(self) -> bool:
        """Whether a form that was passed on has asked for a stream behind its file."""
        return self.upload is not None and self.upload.fields.get("stream") in LATE_STREAM

    @property
    def can_be_asked_again(self) -> bool:
        return self.upload is None or not self.upload.is_spent


@dataclass(slots=True, frozen=True)
class Caller:
    """Marks of one HTTP request: ours, the client's, and when it came in.

    `received_at` is a time of the event loop's clock.
    """

    request_id: UUID
    received_at: float
    reply: Reply = field(repr=False)
    client_request_id: str = ""
    trace_id: str = ""
    #: What the header for tags says, as it came.
    tags_told: str = ""
    #: What the client calls the session that this belongs to.
    session: str = ""
    #: What the header Idempotency-Key says, as it came; empty if it came twice.
    idempotency_key: bytes | None = field(default=None, repr=False)
