"""Plain values in a request's JSON. What is of another type is refused, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.dialects.base import Json, mapping
from gateway.errors import BadRequest


def number(body: Json, name: str) -> float | None:
    value = body.get(name)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise BadRequest(f"{name!r} must be a number.", param=name)


def whole(body: Json, name: str) -> int | None:
    value = body.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise BadRequest(f"{name!r} must be a whole number.", param=name)


def truth(body: Json, name: str) -> bool | None:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise BadRequest(f"{name!r} must be true or false.", param=name)


def json_object(value: Any, name: str) -> Mapping[str, Any]:
    if value is None or isinstance(value, dict):
        return mapping(value)
    raise BadRequest(f"{name!r} must be an object.", param=name)


def text_at(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    raise BadRequest(f"{name!r} must be a string.", param=name)
