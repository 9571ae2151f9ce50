"""What Courier itself reads of a request for speech."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SpeechIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str = Field(min_length=1, max_length=200)
    input: str
    stream_format: str | None = None
