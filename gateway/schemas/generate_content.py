"""What Courier itself reads of requests in Google's format, whose models stand in the path."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from gateway.schemas.bounds import Choices, FewMessages, Stops, Tools


class GenerationConfigIn(BaseModel):
    """How an answer is to be made. The names are those of JSON, or those of protobuf."""

    model_config = ConfigDict(extra="ignore")

    candidates: Choices = Field(
        None, validation_alias=AliasChoices("candidateCount", "candidate_count")
    )
    stops: Stops = Field(None, validation_alias=AliasChoices("stopSequences", "stop_sequences"))


class GenerateContentIn(BaseModel):
    """Everything else travels on untouched, for the provider to judge."""

    model_config = ConfigDict(strict=True, extra="ignore")

    contents: Annotated[dict[str, Any] | list[dict[str, Any]], Field(min_length=1), FewMessages]
    tools: Tools = None
    generation: GenerationConfigIn | None = Field(
        None, validation_alias=AliasChoices("generationConfig", "generation_config")
    )


class EmbedContentIn(BaseModel):
    """One text."""

    model_config = ConfigDict(strict=True, extra="ignore")

    content: dict[str, Any] = Field(min_length=1)


class BatchEmbedContentsIn(BaseModel):
    """Several texts."""

    model_config = ConfigDict(strict=True, extra="ignore")

    requests: list[EmbedContentIn] = Field(min_length=1)
