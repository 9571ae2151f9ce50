"""How much of each a request may ask for: bounds for what no real request comes near."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from django.conf import settings
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

MOST_STOPS = 64
MOST_TOOLS = 1024
MOST_BIASES = 4096


def _no_more(what: str, most: Callable[[], int], size: Callable[[Any], float]) -> AfterValidator:
    def check(value: Any) -> Any:
        bound = most()
        if size(value) > bound:
            raise PydanticCustomError("too_many", f"at most {bound} {what}")
        return value

    return AfterValidator(check)


def _length(value: Any) -> int:
    """How long a list or an object is. Anything else is for the provider to judge."""
    return len(value) if isinstance(value, list | dict) else 0


def _most_choices() -> int:
    most: int = settings.COURIER_MAX_CHOICES
    return most


def _most_messages() -> int:
    most: int = settings.COURIER_MAX_MESSAGES
    return most


#: A model's name. What cannot be printed cannot be kept by every database, nor be logged.
ModelName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Choices = Annotated[
    int | float | None,
    _no_more("answers at once (COURIER_MAX_CHOICES)", _most_choices, lambda number: number or 0),
]
FewMessages = _no_more("messages (COURIER_MAX_MESSAGES)", _most_messages, _length)
FewTools = _no_more("tools", lambda: MOST_TOOLS, _length)
Tools = Annotated[Any, FewTools]
Stops = Annotated[Any, _no_more("texts to stop at", lambda: MOST_STOPS, _length)]
Biases = Annotated[Any, _no_more("tokens with a bias", lambda: MOST_BIASES, _length)]
