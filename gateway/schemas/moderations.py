"""What Courier itself reads of a request for moderation."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from gateway.schemas.bounds import ModelName


class ModerationsIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: ModelName
    input: str | list[str] | list[dict[str, Any]]
