"""Google's JSON: a field may be named in camelCase or in snake_case (protobuf's ProtoJSON)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

from gateway.dialects.base import Json, integer, items, mapping
from gateway.errors import BadRequest

#: Digits of one.
LONGEST_COUNT = 12
_HUMP = re.compile(r"(?<=[a-z0-9])[A-Z]")
_UNDERSCORE = re.compile(r"_([a-z0-9])")


@lru_cache(maxsize=512)
def _snake(name: str) -> str:
    return _HUMP.sub(lambda hump: "_" + hump[0].lower(), name)


def camel(name: str) -> str:
    """The usual spelling of a field's name, however a client wrote it."""
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name) if "_" in name else name


def told(given: Mapping[str, Any], name: str) -> Any:
    """The field `name`, which is in camelCase, by either spelling; None if it is not there."""
    value = given.get(name)
    return given.get(_snake(name)) if value is None else value


def count(value: Any) -> int:
    """A count, which ProtoJSON may write as a text; 0 where it is none."""
    if isinstance(value, str) and value.isdecimal() and len(value) < LONGEST_COUNT:
        return int(value)
    return integer(value)


def unread(given: Mapping[str, Any], known: Collection[str], within: str = "") -> Iterator[str]:
    """Names of the fields that say something and are not `known`, as the client wrote them."""
    for name, value in given.items():
        if value not in (None, []) and camel(name) not in known:
            yield within + name


def objects(given: Mapping[str, Any], name: str) -> list[Json]:
    """The objects in a list; one that stands alone counts as a list of one.

    Raises BadRequest where there is something else.
    """
    value = told(given, name)
    if value is None:
        return []
    found = [value] if isinstance(value, dict) else value
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise BadRequest(f"{name} must be a list of objects.", param=name)
    return found


def parts_of(content: Any) -> list[Json]:
    """The parts of a content, tolerantly: those that are objects."""
    parts = told(mapping(content), "parts")
    alone = [parts] if isinstance(parts, dict) else items(parts)
    return [part for part in alone if isinstance(part, dict)]
