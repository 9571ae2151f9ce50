"""What Courier itself reads of requests in Google's format, whose models stand in the path."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class GenerateContentIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    contents: dict[str, Any] | list[dict[str, Any]] = Field(min_length=1)


class EmbedContentIn(BaseModel):
    """One text."""

    model_config = ConfigDict(strict=True, extra="ignore")

    content: dict[str, Any] = Field(min_length=1)


class BatchEmbedContentsIn(BaseModel):
    """Several texts."""

    model_config = ConfigDict(strict=True, extra="ignore")

    requests: list[EmbedContentIn] = Field(min_length=1)
