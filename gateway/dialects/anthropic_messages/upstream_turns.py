"""Writes a conversation as Anthropic wants it: turns of two sides, of blocks in a given order."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gateway.canonical import Media, Message, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from gateway.dialects.base import Drops, Json
from gateway.dialects.signatures import bare
from lib.json_reading import loads

#: Where input that is no JSON object goes, as Anthropic's documentation advises.
INVALID_JSON = "INVALID_JSON"
IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
PDF = "application/pdf"
#: Characters that ids of calls may not have at Anthropic, though others' have them.
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
#: What the user says first, for a conversation must begin with its user.
_OPENING = "."


def system_of(messages: Sequence[Message], drops: Drops) -> list[Json]:
    """The instructions, wherever in the conversation they stand."""
    parts = [part for message in messages if message.role == "system" for part in message.parts]
    blocks = []
    for part in parts:
        if not isinstance(part, Text):
            drops.note("messages.system")
        elif part.text.strip():
            blocks.append(_cached({"type": "text", "text": part.text}, part.cache))
    return blocks


def turns_of(messages: Sequence[Message], drops: Drops) -> list[Json]:
    """The turns of user and assistant, one after the other."""
    turns: list[Json] = []
    for message in messages:
        if message.role == "system":
            continue
        if message.name:
            drops.note("name")
        blocks = list(_blocks_of(message, drops))
        if blocks and turns and turns[-1]["role"] == message.role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": message.role, "content": blocks})
    for turn in turns:
        _put_in_order(turn)
    if not turns or turns[0]["role"] != "user":
        opening = {"type": "text", "text": _OPENING}
        turns.insert(0, {"role": "user", "content": [opening]})
    _trim_the_end(turns[-1])
    return turns


def _put_in_order(turn: Json) -> None:
    if _comes_later(turn["content"][0]) or turn["role"] == "user":
        # Thoughts that come first are where their maker put them, and stay there.
        turn["content"].sort(key=_comes_later)


def _comes_later(block: Json) -> bool:
    """Whether it stands behind thoughts and results of tools, which must come first."""
    return block["type"] not in {"thinking", "redacted_thinking", "tool_result"}


def _trim_the_end(turn: Json) -> None:
    """An answer to be gone on with must not end in white space."""
    last = turn["content"][-1]
    if turn["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()


def _blocks_of(message: Message, drops: Drops) -> Iterator[Json]:
    for part in message.parts:
        block = _block(part, drops)
        if block is not None:
            yield block


def _block(part: Part, drops: Drops) -> Json | None:
    match part:
        case Text(text=text, cache=cache):
            return _cached({"type": "text", "text": text}, cache) if text.strip() else None
        case Refusal(text=text):
            return {"type": "text", "text": text} if text.strip() else None
        case Media():
            return media_block(part, drops)
        case Thinking():
            return _thinking(part)
        case ToolCall():
            use = {"type": "tool_use", "id": _fit(part.id), "name": part.name}
            return _cached({**use, "input": input_of(part.arguments)}, part.cache)
        case ToolResult():
            return _tool_result(part, drops)


def _thinking(part: Thinking) -> Json | None:
    if bare(part.redacted):
        return {"type": "redacted_thinking", "data": part.redacted}
    if bare(part.signature):
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    # Somebody else's thoughts. No vendor takes those, and none needs them to go on.
    return None


def _tool_result(part: ToolResult, drops: Drops) -> Json:
    blocks = [block for inner in part.parts if (block := _block(inner, drops)) is not None]
    result: Json = {"type": "tool_result", "tool_use_id": _fit(part.call_id)}
    result |= {"content": blocks} if blocks else {}
    result |= {"is_error": True} if part.failed else {}
    return _cached(result, part.cache)


def media_block(media: Media, drops: Drops) -> Json | None:
    """The block of an image or a document; None, and noted, where there is none for it."""
    source = _SOURCES.get(media.kind, _no_source)(media)
    if source is None:
        drops.note_media(media)
        return None
    titled = {"title": media.name} if media.name and media.kind == "document" else {}
    return _cached({"type": media.kind, "source": source, **titled}, media.cache)


def _image_source(media: Media) -> Json | None:
    if media.data and media.media_type in IMAGES:
        return {"type": "base64", "media_type": media.media_type, "data": media.data}
    return {"type": "url", "url": media.url} if media.url else None


def _document_source(media: Media) -> Json | None:
    if media.data and media.media_type.startswith("text/"):
        return _text_source(media.data)
    if media.data and media.media_type in {PDF, ""}:
        return {"type": "base64", "media_type": PDF, "data": media.data}
    return {"type": "url", "url": media.url} if media.url else None


def _text_source(data: str) -> Json | None:
    try:
        text = base64.b64decode(data).decode()
    except (binascii.Error, ValueError):
        return None
    return {"type": "text", "media_type": "text/plain", "data": text}


def _no_source(media: Media) -> Json | None:
    return None


_SOURCES: dict[str, Callable[[Media], Json | None]] = {
    "image": _image_source,
    "document": _document_source,
}


def input_of(arguments: str) -> Json:
    """A call's arguments as the object that they should be."""
    if not arguments.strip():
        return {}
    try:
        given: Any = loads(arguments)
    except ValueError:
        given = None
    return given if isinstance(given, dict) else {INVALID_JSON: arguments}


def _fit(call_id: str) -> str:
    return _UNFIT.sub("_", call_id)


def _cached(block: Json, cache: str) -> Json:
    return {**block, "cache_control": cache_control(cache)} if cache else block


def cache_control(cache: str) -> Json:
    """The mark that the prompt up to here is to be cached for "5m", the default, or "1h"."""
    return {"type": "ephemeral", "ttl": "1h"} if cache == "1h" else {"type": "ephemeral"}
