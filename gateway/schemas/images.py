"""What Courier itself reads of a request for images."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from gateway.schemas.form import FormIn


class ImagesIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str = Field(min_length=1, max_length=200)
    prompt: str
    n: int | None = Field(None, ge=1, le=128)
    stream: bool | None = None


class ImageFormIn(FormIn):
    """A form with images to change."""

    n: int = Field(1, ge=1, le=128)
    partial_images: int = Field(0, ge=0, le=128)
