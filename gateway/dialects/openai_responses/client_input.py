"""The conversation in a request in OpenAI's Responses format: items, read into turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from gateway.canonical import (
    Media,
    Message,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    opened_id,
)
from gateway.dialects import openai_fields as fields
from gateway.dialects.base import Json, items, mapping
from gateway.dialects.openai_parts import located, read_sound
from gateway.dialects.openai_responses.client_items import FREE_INPUT, REDACTED
from gateway.dialects.signatures import OPENAI, bare, given_back, marked
from gateway.errors import BadRequest, UnsupportedParameter

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


def instructions(body: Json) -> Iterable[Message]:
    given = fields.text(body, "instructions")
    if given:
        yield Message("system", [Text(given)])


def conversation(body: Json, unknown: list[str]) -> list[Message]:
    given = body.get("input")
    if isinstance(given, str):
        return [Message("user", [Text(given)])]
    if not isinstance(given, list):
        raise BadRequest("'input' must be a string or a list of items.", param="input")
    messages: list[Message] = []
    for index, item in enumerate(given):
        name = f"input[{index}]"
        read = _item(_object(item, name), name)
        if read is None:
            unknown.append(f"input.{mapping(item).get('type')}")
        else:
            _join(messages, read)
    return messages


def _join(messages: list[Message], read: Message) -> None:
    """Add to a conversation: what the model did at once, and what came of it, is one turn."""
    last = messages[-1] if messages else None
    if last and last.role == read.role and (read.role == "assistant" or _are_results(last, read)):
        last.parts += read.parts
    else:
        messages.append(read)


def _are_results(*messages: Message) -> bool:
    return all(isinstance(part, ToolResult) for message in messages for part in message.parts)


def _object(given: Any, name: str) -> Json:
    if not isinstance(given, dict):
        raise BadRequest(f"{name!r} must be an object.", param=name)
    return given


def _item(item: Json, name: str) -> Message | None:
    """One item as a turn of its own; None if only some providers could know what it means."""
    kind = item.get("type") or "message"
    if kind == "item_reference":
        raise UnsupportedParameter(
            f"{name!r} refers to an item that Courier does not keep. Send the item itself; "
            "clients that send references do so no more with `store: false`.",
            param=name,
        )
    read = _ITEMS.get(str(kind))
    return read(item, name) if read else None


def _message(item: Json, name: str) -> Message:
    role = _ROLES.get(str(item.get("role")))
    if role is None:
        raise BadRequest(f"{name!r} must be an item with a type, or a role.", param=name)
    return Message(role, _content(item.get("content"), f"{name}.content"))  # type: ignore[arg-type]  # the table's values are roles


def _content(given: Any, name: str) -> list[Part]:
    if isinstance(given, str):
        return [Text(given)]
    if not isinstance(given, list):
        raise BadRequest(f"{name!r} must be a string or a list of parts.", param=name)
    named = [(f"{name}[{index}]", part) for index, part in enumerate(given)]
    return [_part(_object(part, place), place) for place, part in named]


def _part(part: Json, name: str) -> Part:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return Text(fields.needed(part, "text", f"{name}."))
        case "refusal":
            return Refusal(fields.needed(part, "refusal", f"{name}."))
        case "input_image" | "input_file" | "input_audio":
            return _media(part, name)
    raise BadRequest(f"{name!r} is of a type that is not supported.", param=name)


def _media(part: Json, name: str) -> Part:
    if part.get("file_id"):
        raise UnsupportedParameter(
            f"{name!r} names a file, and Courier keeps none. Send its data, or a URL.",
            param=f"{name}.file_id",
        )
    where = f"{name}."
    match part["type"]:
        case "input_audio":
            return read_sound(part, where)
        case "input_image":
            image = located("image", fields.text(part, "image_url", where), f"{where}image_url")
            image.detail = fields.text(part, "detail", where)
            return image
    data, url = fields.text(part, "file_data", where), fields.text(part, "file_url", where)
    document = located("document", data or url, f"{where}file_data")
    document.name = fields.text(part, "filename", where)
    return document


def _thinking(item: Json, name: str) -> Message | None:
    parts = [*items(item.get("summary")), *items(item.get("content"))]
    words = "\n\n".join(str(mapping(part).get("text") or "") for part in parts)
    told = str(item.get("encrypted_content") or "")
    if told.startswith(REDACTED):
        return Message("assistant", [Thinking("", redacted=told.removeprefix(REDACTED))])
    signature = marked(OPENAI, told) if bare(told) else given_back(told)
    return Message("assistant", [Thinking(words, signature)])


def _call(item: Json, name: str) -> Message:
    return _called(item, name, fields.needed(item, "arguments", f"{name}."))


def _custom_call(item: Json, name: str) -> Message:
    given = {FREE_INPUT: fields.needed(item, "input", f"{name}.")}
    return _called(item, name, orjson.dumps(given).decode())


def _called(item: Json, name: str, arguments: str) -> Message:
    call_id, signature = opened_id(fields.needed(item, "call_id", f"{name}."))
    tool = fields.needed(item, "name", f"{name}.")
    return Message("assistant", [ToolCall(call_id, tool, arguments, signature)])


def _result(item: Json, name: str) -> Message:
    call_id, _ = opened_id(fields.needed(item, "call_id", f"{name}."))
    content = _content(item.get("output"), f"{name}.output")
    parts = [part for part in content if isinstance(part, Text | Media)]
    return Message("user", [ToolResult(call_id, parts, failed=item.get("status") == "failed")])


_ITEMS: Mapping[str, Callable[[Json, str], Message | None]] = {
    "message": _message,
    "reasoning": _thinking,
    "function_call": _call,
    "function_call_output": _result,
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _result,
}


def refers(item: Any) -> bool:
    """Whether an item stands for something that the provider keeps."""
    told = mapping(item)
    kind = told.get("type")
    if kind == "item_reference" or (kind is None and "id" in told and "content" not in told):
        return True
    parts = items(told.get("content")) or items(told.get("output"))
    return any(mapping(part).get("file_id") for part in parts)
