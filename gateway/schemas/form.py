"""What Courier itself reads of every form."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field


class FormIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge. All fields are texts."""

    model_config = ConfigDict(extra="ignore")
    #: Those that are files. All others must come before these where a form is large.
    files: ClassVar[frozenset[str]] = frozenset()

    model: str = Field(min_length=1, max_length=200)
    stream: bool = False
