"""What Courier itself reads of a chat request."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.schemas.bounds import Biases, Choices, FewMessages, ModelName, Stops, Tools


class ChatCompletionIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: ModelName
    messages: Annotated[list[dict[str, Any]], Field(min_length=1), FewMessages]
    n: Choices = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    stop: Stops = None
    tools: Tools = None
    functions: Tools = None
    logit_bias: Biases = None
