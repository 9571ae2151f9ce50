"""What Courier itself reads of a request for a completion."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

#: A list that is empty asks for nothing.
Tokens = Annotated[list[int], Field(min_length=1)]


class CompletionIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str = Field(min_length=1, max_length=200)
    prompt: str | Tokens | Annotated[list[str] | list[Tokens], Field(min_length=1)]
    n: int | float | None = None
    best_of: int | float | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
