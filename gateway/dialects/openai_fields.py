"""Fields of a request for OpenAI's formats: of the right type, or the client is told which not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.canonical import Json
from gateway.errors import BadRequest

#: Of whole numbers, what every vendor can read.
LARGEST = 2**63 - 1


def text(given: Mapping[str, Any], name: str, where: str = "") -> str:
    """A text; empty if there is none. Raises BadRequest."""
    return str(_of_type(str, given, name, where, "a string") or "")


def needed(given: Mapping[str, Any], name: str, where: str = "") -> str:
    """A text that has to be there, be it empty. Raises BadRequest."""
    if not isinstance(given.get(name), str):
        raise _wrong(where + name, "a string")
    return str(given[name])


def flag(given: Mapping[str, Any], name: str, where: str = "") -> bool | None:
    """Yes, no, or None if nothing is said. Raises BadRequest."""
    value: bool | None = _of_type(bool, given, name, where, "true or false")
    return value


def whole(given: Mapping[str, Any], name: str, where: str = "") -> int | None:
    """A whole number that is not negative, or None. Raises BadRequest."""
    value = number(given, name, where)
    if value is None:
        return None
    if value != int(value) or not 0 <= value <= LARGEST:
        raise _wrong(where + name, "a whole number")
    return int(value)


def number(given: Mapping[str, Any], name: str, where: str = "") -> float | None:
    """A number, or None. Raises BadRequest."""
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(where + name, "a number")
    return value


def signed(given: Mapping[str, Any], name: str) -> int | None:
    """A whole number of either sign, or None. Raises BadRequest."""
    value = number(given, name)
    if value is None:
        return None
    if value != int(value) or not -LARGEST <= value <= LARGEST:
        raise _wrong(name, "a whole number")
    return int(value)


def object_(given: Mapping[str, Any], name: str, where: str = "") -> Json:
    """An object; empty if there is none. Raises BadRequest."""
    return _of_type(dict, given, name, where, "an object") or {}


def objects(given: Mapping[str, Any], name: str, where: str = "") -> Sequence[Json]:
    """A list of objects; empty if there is none. Raises BadRequest."""
    value = _of_type(list, given, name, where, "a list of objects") or []
    if not all(isinstance(each, dict) for each in value):
        raise _wrong(where + name, "a list of objects")
    return value


def texts(given: Mapping[str, Any], name: str) -> list[str]:
    """One text or several; empty if there is none. Raises BadRequest."""
    value = given.get(name)
    found = [value] if isinstance(value, str) else value or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise _wrong(name, "a string or a list of strings")
    return found


def _of_type(kind: type, given: Mapping[str, Any], name: str, where: str, called: str) -> Any:
    value = given.get(name)
    if value is not None and not isinstance(value, kind):
        raise _wrong(where + name, called)
    return value


def _wrong(name: str, called: str) -> BadRequest:
    return BadRequest(f"Invalid {name!r}: it must be {called}.", param=name)
