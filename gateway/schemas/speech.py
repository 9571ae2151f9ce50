"""What Courier itself reads of a request for speech."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from gateway.schemas.bounds import ModelName


class SpeechIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: ModelName
    input: str
    stream_format: str | None = None
