"""What of a request a target's format has no place for."""

from __future__ import annotations

from gateway.errors import UnsupportedParameter

#: What changes the price or the traces of an answer, never the answer: left out and announced,
#: but no reason to refuse a request.
HINTS = frozenset(
    {
        "cache_control",
        "labels",
        "metadata",
        "metadata.user_id",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
    }
)


class Drops:
    """What a target's format has no place for. It is left out and announced, or refused."""

    __slots__ = ("_refuses", "names")

    def __init__(self, *, refuses: bool) -> None:
        self._refuses = refuses
        #: By the client's own names, each once.
        self.names: list[str] = []

    def note(self, name: str) -> None:
        """`name` is not sent. Raises UnsupportedParameter where that is not allowed."""
        if self._refuses and name not in HINTS:
            raise UnsupportedParameter(
                f"No provider of this model supports the parameter {name!r}.", param=name
            )
        if name not in self.names:
            self.names.append(name)
