"""Paths into JSON, such as `choices[0].delta.content` or `content[*].text`. Nothing is evaluated.

A path is made of names between dots, `[2]` for an item of a list (`[-1]`: the last one), `[*]`
for all of them, and `["a.b"]` for a name that holds other signs. What it costs to follow one
is bounded by the size of what it is followed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

LONGEST = 200
MOST_STEPS = 32

_STEP = re.compile(
    r"""(?P<dot>\.)?(?P<name>[A-Za-z_$@][\w$@-]*)|\[(?P<item>-?\d{1,6}|\*)\]|\["(?P<quoted>[^"\\]+)"\]""",
    re.ASCII,
)
_EVERY = object()


class JsonPath:
    """A way to values in JSON. Raises ValueError, with a sentence, if `text` is none."""

    __slots__ = ("_steps", "text")

    def __init__(self, text: str) -> None:
        if not text or len(text) > LONGEST:
            raise ValueError(f"A path has 1 to {LONGEST} characters.")
        self.text = text
        self._steps = tuple(_steps(text))
        if len(self._steps) > MOST_STEPS:
            raise ValueError(f"A path has {MOST_STEPS} steps at most.")

    def __repr__(self) -> str:
        return f"JsonPath({self.text!r})"

    def all(self, value: Any) -> list[Any]:
        """Every value that is there, in order."""
        found = [value]
        for step in self._steps:
            found = [inner for outer in found for inner in _inside(outer, step)]
        return found

    def first(self, value: Any) -> Any:
        """The first value that is there and not null; None if there is none."""
        return next((each for each in self.all(value) if each is not None), None)


def _steps(text: str) -> Iterator[Any]:
    place = 0
    while place < len(text):
        match = _STEP.match(text, place)
        if match is None or (match["name"] and bool(match["dot"]) is (place == 0)):
            raise ValueError(
                f"The path cannot be read at {text[place : place + 20]!r}. Write names between "
                'dots, [0] or [*] for items of a list, ["a b"] for a name with other signs.'
            )
        place = match.end()
        if match["item"] == "*":
            yield _EVERY
        else:
            yield int(match["item"]) if match["item"] else match["name"] or match["quoted"]


def _inside(value: Any, step: Any) -> list[Any]:
    """What one step finds in a value."""
    if isinstance(value, dict):
        return [value[step]] if isinstance(step, str) and step in value else []
    if not isinstance(value, list) or isinstance(step, str):
        return []
    if step is _EVERY:
        return value
    return [value[step]] if -len(value) <= step < len(value) else []
