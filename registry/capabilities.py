"""What a model can do. Pure, so that translation may read it."""

from __future__ import annotations

from dataclasses import dataclass, fields

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

    def over(self, general: Capabilities) -> Capabilities:
        """These, and what `general` says where these say nothing."""
        merged = {}
        for name in _NAMES:
            own = getattr(self, name)
            merged[name] = getattr(general, name) if own is None else own
        return Capabilities(**merged)

    def told(self) -> dict[str, int | bool]:
        """What is known, by name."""
        known = {name: getattr(self, name) for name in _NAMES}
        return {name: value for name, value in known.items() if value is not None}


_NAMES = tuple(field.name for field in fields(Capabilities))
UNKNOWN = Capabilities()
