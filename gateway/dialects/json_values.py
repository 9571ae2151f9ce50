"""Reads values of other people's JSON, whatever they turn out to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: No count is believed to be larger.
MOST = 10**12


def integer(value: Any) -> int:
    """A token count from somebody else's JSON: whole, not negative, and within bounds."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(min(max(value, 0), MOST)) if value == value else 0


def items(value: Any) -> Sequence[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else ()


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; of anything else, none."""
    return [each for each in items(value) if isinstance(each, dict)]
