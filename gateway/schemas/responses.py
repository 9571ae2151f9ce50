"""What Courier itself reads of a request for a response."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ResponseIn(BaseModel):
    """Everything else travels on untouched, or is read where it has to be translated."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str = Field(min_length=1, max_length=200)
    #: Not there where the provider keeps what it stands for.
    input: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    background: bool | None = None
