"""How models are shown the tools that they may call, for counting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from gateway.canonical import Tool
from gateway.dialects.json_values import items, mapping

#: Schemas deeper than this are not looked into: nobody writes them, and they are the client's.
DEEPEST = 12


def as_json(tools: Sequence[Tool]) -> str:
    """The tools as the JSON that they are, one a line."""
    return "\n".join(
        orjson.dumps(
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        ).decode()
        for tool in tools
    )


def as_types(tools: Sequence[Tool]) -> str:
    """The tools as a namespace of TypeScript, as OpenAI's models read them."""
    lines = ["namespace functions {"]
    for tool in tools:
        lines += _comment(tool.description)
        fields = mapping(tool.parameters.get("properties"))
        if fields:
            inside = "\n".join(_fields(tool.parameters, 0))
            lines.append(f"type {tool.name} = (_: {{\n{inside}\n}}) => any;")
        else:
            lines.append(f"type {tool.name} = () => any;")
    return "\n\n".join([*lines, "} // namespace functions"])


def _comment(words: Any) -> list[str]:
    return [f"// {words}"] if isinstance(words, str) and words else []


def _fields(schema: Mapping[str, Any], depth: int) -> Iterator[str]:
    required = items(schema.get("required"))
    for name, given in mapping(schema.get("properties")).items():
        told = mapping(given)
        yield from _comment(told.get("description"))
        yield f"{name}{'' if name in required else '?'}: {_type(told, depth + 1)},"


def _type(schema: Mapping[str, Any], depth: int) -> str:
    kind = schema.get("type")
    if depth > DEEPEST:
        return "any"
    if schema.get("enum"):
        return " | ".join(orjson.dumps(value).decode() for value in items(schema["enum"]))
    if kind == "array":
        return f"{_type(mapping(schema.get('items')), depth + 1)}[]"
    if kind == "object" and schema.get("properties"):
        return "{\n" + "\n".join(_fields(schema, depth)) + "\n}"
    named = [kind] if isinstance(kind, str) else [each for each in items(kind) if each]
    return " | ".join("number" if each == "integer" else str(each) for each in named) or "any"
