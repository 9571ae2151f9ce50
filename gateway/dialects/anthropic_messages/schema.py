"""JSON schemas, as far as Anthropic's structured outputs know them.

What is not known there (bounds, patterns, …) goes into the description, as Anthropic's own
SDKs do: the model still reads it (docs.claude.com/en/docs/build-with-claude/structured-outputs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.base import Json, items, mapping

_KEPT = frozenset({"$ref", "const", "default", "description", "enum", "required", "title", "type"})
_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_BY_NAME = frozenset({"$defs", "definitions", "properties"})
#: Said by Courier itself, or of no meaning to a model.
_LEFT_OUT = frozenset({"$id", "$schema", "additionalProperties"})
_FORMATS = (
    *("date-time", "time", "date", "duration", "email"),
    *("hostname", "uri", "ipv4", "ipv6", "uuid"),
)


def is_open(schema: Any) -> bool:
    """Whether some object in it may have fields that it does not name."""
    if isinstance(schema, list):
        return any(map(is_open, schema))
    told = mapping(schema)
    if told.get("type") == "object" and not told.get("properties"):
        return True
    return bool(told.get("additionalProperties")) or any(
        is_open(value) for value in told.values() if isinstance(value, dict | list)
    )


def closed_schema(schema: Any) -> Json:
    """`schema` without what would be refused. Its objects have the fields that it names."""
    known: Json = {}
    beyond: Json = {}
    for name, value in mapping(schema).items():
        kept = _kept(name, value)
        known |= kept
        if not kept and name not in _LEFT_OUT:
            beyond[name] = value
    if "properties" in known:
        known["additionalProperties"] = False
    return {**known, **_described(known, beyond)}


def _kept(name: str, value: Any) -> Json:
    """A keyword as it is sent; empty where it is not known."""
    if name in _KEPT or (name == "format" and value in _FORMATS):
        return {name: value}
    if name in _BY_NAME:
        return {name: {key: closed_schema(inner) for key, inner in mapping(value).items()}}
    if name in _LISTS:
        return {_LISTS[name]: [closed_schema(inner) for inner in items(value)]}
    if name == "items":
        return {name: closed_schema(value)}
    if name == "minItems" and value in (0, 1):
        return {name: value}
    return {}


def _described(known: Mapping[str, Any], beyond: Json) -> Json:
    if not beyond:
        return {}
    told = ", ".join(f"{name}: {orjson.dumps(value).decode()}" for name, value in beyond.items())
    before = f"{known['description']}\n\n" if known.get("description") else ""
    return {"description": f"{before}{{{told}}}"}
