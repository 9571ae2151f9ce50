"""Requests in OpenAI's Responses format, written from the hub for a vendor that speaks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.canonical import (
    ChatRequest,
    Media,
    Message,
    Part,
    Reasoning,
    Refusal,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.dialects.base import Destination, Drops, Json
from gateway.dialects.openai_chat.upstream_request import cannot_stop_thinking, effort_of, words_of
from gateway.dialects.openai_parts import data_uri
from gateway.dialects.signatures import OPENAI, unmarked

#: OpenAI refuses a lower bound.
_LEAST_TOKENS = 16


def write_request(request: ChatRequest, to: Destination, drops: Drops) -> Json:
    """The body to send. The provider is asked to keep nothing of it."""
    _note_what_has_no_place(request, to, drops)
    instructions, messages = _apart(request.messages)
    bound = request.max_tokens and max(request.max_tokens, _LEAST_TOKENS)
    includes = list(_includes(request, to))
    written = {
        "model": to.upstream_model,
        "instructions": instructions or None,
        "input": [item for message in messages for item in _items(message, drops)],
        "stream": True if request.stream else None,
        "store": False,
        "max_output_tokens": bound,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_logprobs": request.top_logprobs if request.logprobs else None,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": request.tool_choice and _tool_choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tools,
        "text": request.response_format and {"format": _format(request.response_format)},
        "reasoning": request.reasoning and _reasoning(request.reasoning),
        "include": includes or None,
        "user": request.user or None,
    }
    return {name: value for name, value in written.items() if value is not None}


def _note_what_has_no_place(request: ChatRequest, to: Destination, drops: Drops) -> None:
    given = {
        "top_k": request.top_k is not None,
        "stop": request.stop,
        "seed": request.seed is not None,
        # Without a penalty is how models are anyway.
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "logit_bias": request.logit_bias,
        "n": request.n > 1,
        "name": any(message.name for message in request.messages),
        "cache_control": request.is_marked,
        "reasoning_effort": cannot_stop_thinking(request.reasoning, to),
    }
    for name in (name for name, is_given in given.items() if is_given):
        drops.note(name)


def _includes(request: ChatRequest, to: Destination) -> Iterator[str]:
    if request.logprobs:
        yield "message.output_text.logprobs"
    thinks = request.reasoning.enabled if request.reasoning else to.capabilities.reasoning
    # Models that do not think refuse to be asked for it.
    if thinks:
        yield "reasoning.encrypted_content"


# The conversation


def _apart(messages: list[Message]) -> tuple[str, list[Message]]:
    """The instructions that a conversation begins with, and the rest."""
    leading = 0
    while leading < len(messages) and messages[leading].role == "system":
        leading += 1
    texts = [
        part.text
        for message in messages[:leading]
        for part in message.parts
        if isinstance(part, Text)
    ]
    return "\n\n".join(texts), messages[leading:]


def _items(message: Message, drops: Drops) -> Iterator[Json]:
    """The items of one turn: what is said comes together, calls and results one by one."""
    said: list[Json] = []
    for part in message.parts:
        item = _item_of(part, drops)
        if item is None:
            said.append(_content(part, message.role, drops))
            continue
        yield from _message(message.role, said)
        said = []
        if item:
            yield item
    yield from _message(message.role, said)


def _message(role: str, said: list[Json]) -> Iterator[Json]:
    content = [part for part in said if part]
    if content:
        name = "developer" if role == "system" else role
        is_own_text = all(part["type"] == "output_text" for part in content)
        # As parts it would need the id and the status of an item that OpenAI has made.
        told = "".join(part["text"] for part in content) if is_own_text else content
        yield {"type": "message", "role": name, "content": told}


def _item_of(part: Part, drops: Drops) -> Json | None:
    """The item that a part makes; None if it is content, empty if it cannot be told."""
    match part:
        case ToolCall():
            return {
                "type": "function_call",
                "call_id": part.id,
                "name": part.name,
                "arguments": part.arguments,
            }
        case ToolResult():
            return {
                "type": "function_call_output",
                "call_id": part.call_id,
                "output": _output(part, drops),
            }
        case Thinking():
            return _thought(part)
    return None


def _thought(part: Thinking) -> Json:
    signature = unmarked(OPENAI, part.signature or part.redacted)
    if not signature:
        return {}  # a vendor takes no thoughts back that it has not signed
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return {"type": "reasoning", "summary": summary, "encrypted_content": signature}


def _output(result: ToolResult, drops: Drops) -> str | list[Json]:
    media = [part for part in result.parts if not isinstance(part, Text)]
    shown = [content for part in media if (content := _content(part, "user", drops))]
    words = words_of(result)
    if not shown:
        return words
    return [*([{"type": "input_text", "text": words}] if words else []), *shown]


def _content(part: Part, role: str, drops: Drops) -> Json:
    """A part of what is said; empty if it cannot be told."""
    match part:
        case Text(text=text):
            return {"type": "output_text" if role == "assistant" else "input_text", "text": text}
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}
        case Media(kind="image"):
            image = {"type": "input_image", "image_url": data_uri(part)}
            return {**image, "detail": part.detail or "auto"}
        case Media(kind="document"):
            return _document(part)
        case Media(kind="audio"):
            drops.note_media(part)
    return {}


def _document(part: Media) -> Json:
    if part.url:
        return {"type": "input_file", "file_url": part.url}
    return {
        "type": "input_file",
        "filename": part.name or "document.pdf",
        "file_data": data_uri(part),
    }


# Tools, and the form of the answer


def _tool(tool: Tool) -> Json:
    # Left out, `strict` is true here, and the schema would be held to rules of its own.
    written: dict[str, Any] = {
        "type": "function",
        "name": tool.name,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
        "strict": bool(tool.strict),
    }
    return {**written, "description": tool.description} if tool.description else written


def _tool_choice(choice: ToolChoice) -> str | Json:
    if choice.mode == "named":
        return {"type": "function", "name": choice.name}
    return choice.mode


def _format(given: ResponseFormat) -> Json:
    if given.kind == "json_object":
        return {"type": "json_object"}
    written: dict[str, Any] = {
        "type": "json_schema",
        "name": given.name,
        "schema": given.schema,
        "strict": bool(given.strict),
    }
    return {**written, "description": given.description} if given.description else written


def _reasoning(given: Reasoning) -> Json | None:
    if not given.enabled:
        return {"effort": "none"} if given.effort else None
    written = {}
    if effort := effort_of(given):
        written["effort"] = effort
    if given.shown:
        written["summary"] = "auto"
    return written
