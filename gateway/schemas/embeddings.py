"""What Courier itself reads of an embeddings request."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from gateway.schemas.bounds import ModelName


class EmbeddingsIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: ModelName
    input: str | list[str] | list[int] | list[list[int]]
