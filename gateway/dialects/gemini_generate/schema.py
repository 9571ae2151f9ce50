"""Google's Schema, a relative of OpenAPI's (ai.google.dev/api/caching#Schema), as JSON schema."""

from __future__ import annotations

from typing import Any

from gateway.dialects.base import Json, items, mapping
from gateway.dialects.gemini_generate.fields import camel

#: Fields that hold one schema, a list of them, or schemas by name.
_ONE = ("items", "additionalProperties", "not")
_SEVERAL = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "defs", "$defs")
#: Counts, which ProtoJSON writes as text.
_COUNTS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
#: What JSON schema says otherwise, or not at all.
_OWN = frozenset({"nullable", "propertyOrdering", "example", "type"})


def json_schema(schema: Any) -> Json:
    """The JSON schema that says the same. One that is JSON schema already stays what it is."""
    given = {name if name[:1] == "$" else camel(name): v for name, v in mapping(schema).items()}
    written = {name: _value(name, value) for name, value in given.items() if name not in _OWN}
    if "type" in given:
        written["type"] = _type(given["type"], nullable=given.get("nullable") is True)
    if "example" in given:
        written["examples"] = [given["example"]]
    return written


def _value(name: str, value: Any) -> Any:
    if name in _ONE and isinstance(value, dict):
        return json_schema(value)
    if name in _SEVERAL:
        return [json_schema(each) for each in items(value)]
    if name in _NAMED:
        return {key: json_schema(each) for key, each in mapping(value).items()}
    if name in _COUNTS and isinstance(value, str) and value.isdecimal():
        return int(value)
    return value


def _type(given: Any, *, nullable: bool) -> Any:
    kinds = [kind.lower() if isinstance(kind, str) else kind for kind in items(given) or [given]]
    if nullable and "null" not in kinds:
        kinds.append("null")
    return kinds[0] if len(kinds) == 1 else kinds
