"""What Courier itself reads of a request for a completion."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.schemas.bounds import Biases, Choices, ModelName, Stops

#: A list that is empty asks for nothing.
Tokens = Annotated[list[int], Field(min_length=1)]


class CompletionIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: ModelName
    prompt: str | Tokens | Annotated[list[str] | list[Tokens], Field(min_length=1)]
    n: Choices = None
    best_of: Choices = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    stop: Stops = None
    logit_bias: Biases = None
