"""What Courier itself reads of an embeddings request."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EmbeddingsIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str = Field(min_length=1, max_length=200)
    input: str | list[str] | list[int] | list[list[int]]
