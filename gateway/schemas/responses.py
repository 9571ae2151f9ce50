"""What Courier itself reads of a request for a response."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict

from gateway.schemas.bounds import FewMessages, ModelName, Tools


class ResponseIn(BaseModel):
    """Everything else travels on untouched, or is read where it has to be translated."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: ModelName
    #: Not there where the provider keeps what it stands for.
    input: Annotated[str | list[dict[str, Any]] | None, FewMessages] = None
    tools: Tools = None
    stream: bool | None = None
    background: bool | None = None
