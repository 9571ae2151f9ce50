"""What a model can do. Pure, so that translation may read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: Capabilities that are counts.
COUNTS = ("context_window", "output_limit", "batch_limit")
#: Capabilities that are there or not.
TRAITS = (
    "tools",
    "parallel_tools",
    "vision",
    "documents",
    "audio_input",
    "json_schema",
    "reasoning",
    "logprobs",
)
NAMES = (*COUNTS, *TRAITS)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do. None: nobody has said."""

    #: Tokens of input and output together.
    context_window: int | None = None
    #: Tokens of output.
    output_limit: int | None = None
    #: Inputs in one request for embeddings, documents in one for reranking.
    batch_limit: int | None = None
    tools: bool | None = None
    parallel_tools: bool | None = None
    vision: bool | None = None
    documents: bool | None = None
    audio_input: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None
    logprobs: bool | None = None
    #: The traits that it is known not to have.
    lacks: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lacks = frozenset(name for name in TRAITS if getattr(self, name) is False)
        object.__setattr__(self, "lacks", lacks)

    def over(self, general: Capabilities) -> Capabilities:
        """These, and what `general` says where these say nothing."""
        merged = {}
        for name in NAMES:
            own = getattr(self, name)
            merged[name] = getattr(general, name) if own is None else own
        return Capabilities(**merged)

    def told(self) -> dict[str, int | bool]:
        """What is known, by name."""
        known = {name: getattr(self, name) for name in NAMES}
        return {name: value for name, value in known.items() if value is not None}


UNKNOWN = Capabilities()


def together(each: Sequence[Capabilities]) -> Capabilities:
    """What at least one of several can do: a request goes where it can be served."""
    known: dict[str, list[Any]] = {
        name: [value for one in each if (value := getattr(one, name)) is not None] for name in NAMES
    }
    # Where some cannot and others are unknown, so is the whole.
    sure = {
        name: max(values)
        for name, values in known.items()
        if values and (name in COUNTS or any(values) or len(values) == len(each))
    }
    return Capabilities(**sure)
