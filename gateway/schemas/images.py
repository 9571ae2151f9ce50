"""What Courier itself reads of a request for images."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from gateway.schemas.bounds import ModelName
from gateway.schemas.form import FormIn


class ImagesIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: ModelName
    prompt: str
    n: int | None = Field(None, ge=1, le=128)
    stream: bool | None = None


class ImageFormIn(FormIn):
    """A form with images to change."""

    #: How many images are asked for is a part of what they cost.
    needed: ClassVar[frozenset[str]] = frozenset({"model", "n"})

    n: int = Field(1, ge=1, le=128)
    partial_images: int = Field(0, ge=0, le=128)
