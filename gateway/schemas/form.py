"""What Courier itself reads of every form."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field


class FormIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge. All fields are texts."""

    model_config = ConfigDict(extra="ignore")
    #: Without these nobody knows what to admit: until they have come, nothing is passed on.
    needed: ClassVar[frozenset[str]] = frozenset({"model"})

    model: str = Field(min_length=1, max_length=200)
    stream: bool = False
