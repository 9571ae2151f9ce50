"""What Courier itself reads of a request for a message."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.schemas.bounds import FewMessages, FewTools, ModelName, Stops


class TokensIn(BaseModel):
    """A conversation to be counted."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: ModelName
    messages: Annotated[list[dict[str, Any]], Field(min_length=1), FewMessages]
    tools: Annotated[list[dict[str, Any]] | None, FewTools] = None


class MessageIn(TokensIn):
    """A conversation to be gone on with. The bound is required, as the format says."""

    max_tokens: int = Field(ge=1)
    stream: bool | None = None
    stop_sequences: Stops = None
