"""What a vendor of chat completions is asked, written from the hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.canonical import (
    ChatRequest,
    Json,
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
from gateway.dialects.base import Destination, Drops
from gateway.dialects.openai_parts import write_media
from gateway.dialects.signatures import bare

#: An effort for budgets of up to so many tokens; beyond, it is high.
EFFORTS = ((4096, "low"), (16_384, "medium"))
_SAME_NAMES = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "top_logprobs",
)


def write_request(request: ChatRequest, to: Destination, drops: Drops) -> Json:
    """The body to send."""
    writer = Writer(to.upstream_model, drops)
    body: Json = {"model": to.upstream_model, "messages": writer.messages(request.messages)}
    if request.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    for name in _SAME_NAMES:
        if (value := getattr(request, name)) is not None:
            body[name] = value
    body |= _unless_empty(
        n=request.n if request.n > 1 else None,
        stop=request.stop,
        logprobs=request.logprobs or None,
        response_format=_response_format(request.response_format),
        reasoning_effort=effort_of(request.reasoning),
        user=request.user,
    )
    if request.tools:
        body |= writer.tools(request)
    if cannot_stop_thinking(request.reasoning, to):
        drops.note("reasoning_effort")
    return body


class Writer:
    """Writes what is said for one model of a vendor's."""

    def __init__(self, model: str, drops: Drops) -> None:
        self._drops = drops
        # Servers in front of several vendors pass these on to those who know them.
        self._takes_marks = "claude" in model or "gemini" in model
        self._takes_signed_thoughts = "claude" in model
        self._takes_signed_calls = "gemini" in model

    def messages(self, messages: Sequence[Message]) -> list[Json]:
        return [written for message in messages for written in self._message(message)]

    def _message(self, message: Message) -> Iterator[Json]:
        if message.role == "assistant":
            yield from self._assistant(message)
            return
        rest: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                yield self._result(part)
                # The format's results are texts: the rest is said right behind them.
                rest += [each for each in part.parts if isinstance(each, Media)]
        rest += [part for part in message.parts if not isinstance(part, ToolResult)]
        if content := self._content(rest):
            yield {"role": message.role, "content": content, **_unless_empty(name=message.name)}

    def _assistant(self, message: Message) -> Iterator[Json]:
        said = [part for part in message.parts if not isinstance(part, Thinking | ToolCall)]
        calls = [self._call(part) for part in message.parts if isinstance(part, ToolCall)]
        content = self._content(said, between="") or None
        if content is None and not calls:
            return
        thoughts = [part for part in message.parts if isinstance(part, Thinking)]
        yield {
            "role": "assistant",
            "content": content,
            **_unless_empty(name=message.name, tool_calls=calls),
            **self._thoughts(thoughts),
        }

    def _thoughts(self, thoughts: Sequence[Thinking]) -> Json:
        """Thoughts go back to those whose they are: no other vendor takes them."""
        if self._takes_signed_thoughts:
            signed = [part for part in thoughts if bare(part.signature or part.redacted)]
            details = [_detail(part, place) for place, part in enumerate(signed)]
            return _unless_empty(reasoning_details=details)
        own = "".join(part.text for part in thoughts if not part.signature)
        return _unless_empty(reasoning_content=own)

    def _result(self, result: ToolResult) -> Json:
        content: Any = words_of(result)
        if mark := self._mark(result.cache):
            content = [{"type": "text", "text": content, **mark}]
        return {"role": "tool", "tool_call_id": result.call_id, "content": content}

    def _call(self, call: ToolCall) -> Json:
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        written: Json = {"id": call.id, "type": "function", "function": function}
        if call.signature and self._takes_signed_calls:
            written["extra_content"] = {"google": {"thought_signature": call.signature}}
        return written

    def _content(self, parts: Sequence[Part], between: str = "\n\n") -> Any:
        """One text where there is nothing else: many servers take no list."""
        written = list(filter(None, map(self._part, parts)))
        if all(part.keys() == {"type", "text"} for part in written):
            return between.join(part["text"] for part in written if part["text"])
        return written

    def _part(self, part: Part) -> Json | None:
        match part:
            case Text(text=text, cache=cache):
                return {"type": "text", "text": text, **self._mark(cache)}
            case Refusal(text=text):
                return {"type": "text", "text": text}
            case Media():
                return self._media(part)
            case _:
                return None

    def _media(self, media: Media) -> Json | None:
        written = write_media(media)
        if written is None:
            self._drops.note_media(media)
            return None
        return written | self._mark(media.cache)

    def _mark(self, cache: str) -> Json:
        if not cache:
            return {}
        if not self._takes_marks:
            self._drops.note("cache_control")
            return {}
        ttl = {"ttl": cache} if cache != "5m" else {}
        return {"cache_control": {"type": "ephemeral", **ttl}}

    def tools(self, request: ChatRequest) -> Json:
        return {
            "tools": [self._tool(tool) for tool in request.tools],
            **_unless_empty(
                tool_choice=_tool_choice(request.tool_choice),
                parallel_tool_calls=request.parallel_tools,
            ),
        }

    def _tool(self, tool: Tool) -> Json:
        function = {
            "name": tool.name,
            **_unless_empty(description=tool.description),
            "parameters": tool.parameters or {"type": "object", "properties": {}},
            **_unless_empty(strict=tool.strict),
        }
        return {"type": "function", "function": function, **self._mark(tool.cache)}


def _unless_empty(**given: Any) -> Json:
    """Those of the fields that say something; false does."""
    return {name: value for name, value in given.items() if value or value is False}


def _detail(part: Thinking, place: int) -> Json:
    if part.redacted:
        return {"type": "reasoning.encrypted", "data": part.redacted, "index": place}
    signed = {"text": part.text, "signature": part.signature}
    return {"type": "reasoning.text", **signed, "index": place}


def _tool_choice(choice: ToolChoice | None) -> Any:
    if choice is None or choice.mode != "named":
        return choice and choice.mode
    return {"type": "function", "function": {"name": choice.name}}


def _response_format(asked: ResponseFormat | None) -> Json | None:
    if asked is None:
        return None
    if asked.kind == "json_object":
        return {"type": "json_object"}
    more = _unless_empty(strict=asked.strict, description=asked.description)
    return {
        "type": "json_schema",
        "json_schema": {"name": asked.name, "schema": asked.schema, **more},
    }


def words_of(result: ToolResult) -> str:
    """What a tool has said, for formats that have no other place for that it failed."""
    words = "\n\n".join(part.text for part in result.parts if isinstance(part, Text))
    if result.failed and not words.casefold().startswith("error"):
        return f"Error: {words}"
    return words


def cannot_stop_thinking(asked: Reasoning | None, to: Destination) -> bool:
    """Whether a model that thinks is asked not to: few of them can be told so."""
    is_off = asked is not None and not asked.enabled and not asked.effort
    return is_off and to.capabilities.reasoning is True


def effort_of(reasoning: Reasoning | None) -> str:
    """The effort, where anything is said of it: models that do not reason refuse the field."""
    if reasoning is None or reasoning.effort or not reasoning.enabled:
        return reasoning.effort if reasoning else ""
    if not reasoning.budget_tokens:
        return ""
    return next((name for most, name in EFFORTS if reasoning.budget_tokens <= most), "high")
