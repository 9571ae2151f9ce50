"""What Courier itself reads of a request to rerank."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.schemas.bounds import ModelName


class RerankIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: ModelName
    query: str | dict[str, Any]
    documents: list[str | dict[str, Any]] = Field(min_length=1)
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool | None = None
