"""What Courier itself reads of every form."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from gateway.schemas.bounds import ModelName


class FormIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge. All fields are texts."""

    model_config = ConfigDict(extra="ignore")
    #: Without these nobody knows what to admit: until they have come, nothing is passed on.
    needed: ClassVar[frozenset[str]] = frozenset({"model"})

    model: ModelName
    stream: bool = False
