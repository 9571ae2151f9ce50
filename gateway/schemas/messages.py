"""What Courier itself reads of a request for a message."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class TokensIn(BaseModel):
    """A conversation to be counted."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str = Field(min_length=1, max_length=200)
    messages: list[dict[str, Any]] = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None


class MessageIn(TokensIn):
    """A conversation to be gone on with. The bound is required, as the format says."""

    max_tokens: int = Field(ge=1)
    stream: bool | None = None
