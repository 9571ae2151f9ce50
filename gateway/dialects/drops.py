"""What of a request a target's format has no place for."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.canonical import Media
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

#: Of clients who call fields as chat completions do.
AS_IN_CHAT: Mapping[str, str] = {}
#: What chat completions call the parts that hold media.
_PARTS = {"image": "image_url", "document": "file", "audio": "input_audio"}


class Drops:
    """What a target's format has no place for. It is left out and announced, or refused."""

    __slots__ = ("_called", "_refuses", "names")

    def __init__(self, *, refuses: bool, called: Mapping[str, str] = AS_IN_CHAT) -> None:
        self._refuses = refuses
        #: What the client calls the fields of chat completions.
        self._called = called
        #: By the client's own names, each once.
        self.names: list[str] = []

    def note(self, name: str) -> None:
        """What chat completions call `name` is not sent. Raises as `note_own` does."""
        self.note_own(self._called.get(name, name))

    def note_media(self, media: Media) -> None:
        """An image, a document or a sound is not sent. Raises as `note_own` does."""
        self.note(_PARTS[media.kind])

    def note_own(self, name: str) -> None:
        """The client's own field `name` is not sent.

        Raises UnsupportedParameter where that is not allowed.
        """
        if self._refuses and name not in HINTS:
            raise UnsupportedParameter(
                f"No provider of this model supports the parameter {name!r}.", param=name
            )
        if name not in self.names:
            self.names.append(name)
