"""Reads what a client of Anthropic's asks (docs.claude.com/en/api/messages)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import orjson

from gateway.canonical import (
    ChatRequest,
    Media,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    opened_id,
)
from gateway.dialects.base import Json, integer, items, mapping
from gateway.dialects.signatures import given_back
from gateway.errors import BadRequest

#: Fields that are read, and those that mean nothing to the answer.
_READ = frozenset(
    {
        "cache_control", "max_tokens", "messages", "metadata", "model", "output_config",
        "output_format", "stop_sequences", "stream", "system", "temperature", "thinking",
        "tool_choice", "tools", "top_k", "top_p",
    }
)  # fmt: skip
_NO_MATTER = {"service_tier": "auto", "speed": "standard", "betas": []}
#: What is called otherwise than in chat completions.
FIELD_NAMES = {
    "stop": "stop_sequences",
    "user": "metadata.user_id",
    "strict": "tools.strict",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "response_format": "output_config.format",
    "reasoning_effort": "thinking",
    "messages.system": "system",
    "image_url": "image",
    "file": "document",
}
_TOOL_READ = frozenset({"cache_control", "description", "input_schema", "name", "strict", "type"})
_TOOL_NO_MATTER = frozenset({"eager_input_streaming"})
_CHOICES = {"auto": "auto", "any": "required", "tool": "named", "none": "none"}
#: The first words of a block that the vendor's own agent puts before its instructions. It is
#: meant for the vendor's billing, and changes with each request: no cache would ever match.
_BILLING = "x-anthropic-billing-header:"
#: OpenAI's bound for the name of an end user. Agents tell theirs account and session too.
LONGEST_USER = 64


def read_request(body: Json) -> ChatRequest:
    """The conversation in a body. Raises BadRequest, naming what cannot be understood."""
    try:
        return _Reading(body).request()
    except RecursionError:
        raise BadRequest("The content is nested too deeply.", param="messages") from None


class _Reading:
    """One body, being read."""

    def __init__(self, body: Json) -> None:
        self._body = body
        #: What has no place on the hub, each once and in order.
        self._unknown: dict[str, None] = {}
        self._blocks: Mapping[str, Callable[[Json, str], Iterator[Part]]] = {
            "text": self._text,
            "image": self._image,
            "document": self._document,
            "search_result": self._search_result,
            "tool_use": self._tool_use,
            "tool_result": self._tool_result,
            "thinking": self._thinking,
            "redacted_thinking": self._thinking,
        }

    def request(self) -> ChatRequest:
        body = self._body
        messages = [*self._system(), *self._messages()]
        tools = list(self._tools())
        _cache_to_the_end(messages, _cache_in(body))
        self._note_the_rest()
        choice = mapping(body.get("tool_choice"))
        return ChatRequest(
            messages=messages,
            stream=bool(body.get("stream")),
            max_tokens=integer(body.get("max_tokens")) or None,
            temperature=_number(body, "temperature"),
            top_p=_number(body, "top_p"),
            top_k=integer(body.get("top_k")) or None,
            stop=[stop for stop in items(body.get("stop_sequences")) if isinstance(stop, str)],
            tools=tools,
            tool_choice=self._tool_choice(choice, tools),
            parallel_tools=False if choice.get("disable_parallel_tool_use") else None,
            response_format=self._response_format(),
            reasoning=_reasoning(body),
            user=_user(mapping(body.get("metadata"))),
            unknown=list(self._unknown),
        )

    def _note(self, name: str) -> None:
        self._unknown[name] = None

    def _note_the_rest(self) -> None:
        for name, value in self._body.items():
            if name not in _READ and value is not None and value != _NO_MATTER.get(name):
                self._note(name)
        for name in mapping(self._body.get("metadata")):
            if name != "user_id":
                self._note(f"metadata.{name}")

    # Messages

    def _system(self) -> Iterator[Message]:
        parts = list(self._parts(self._body.get("system"), "system"))
        if parts:
            yield Message("system", parts)

    def _messages(self) -> Iterator[Message]:
        for index, message in enumerate(self._body["messages"]):
            role = message.get("role")
            where = f"messages.{index}"
            if role not in ("user", "assistant", "system"):
                raise BadRequest(
                    "A message's role must be user, assistant or system.", param=f"{where}.role"
                )
            yield Message(role, list(self._parts(message.get("content"), f"{where}.content")))

    def _parts(self, content: Any, where: str) -> Iterator[Part]:
        """The parts of a content: a string, or a list of blocks."""
        if content is None or isinstance(content, str):
            yield from [Text(content)] if content else []
            return
        if not isinstance(content, list):
            raise BadRequest("Content must be a string or a list of blocks.", param=where)
        for index, block in enumerate(content):
            yield from self._block(block, f"{where}.{index}")

    def _block(self, block: Any, where: str) -> Iterator[Part]:
        kind = mapping(block).get("type")
        if not isinstance(kind, str):
            raise BadRequest("A block must be an object with a type.", param=f"{where}.type")
        read = self._blocks.get(kind)
        if read is None:
            # Tools of the vendor's servers, and whatever it invents next.
            self._note(kind)
            return
        yield from read(block, where)

    def _text(self, block: Json, where: str) -> Iterator[Part]:
        text = block.get("text")
        if not isinstance(text, str):
            raise BadRequest("A block of text must have a text.", param=f"{where}.text")
        if not text.startswith(_BILLING):
            yield Text(text, _cache_in(block))

    def _image(self, block: Json, where: str) -> Iterator[Part]:
        media = self._media("image", mapping(block.get("source")))
        if media is not None:
            media.cache = _cache_in(block)
            yield media

    def _document(self, block: Json, where: str) -> Iterator[Part]:
        source, title = mapping(block.get("source")), _string(block, "title")
        if mapping(block.get("citations")).get("enabled"):
            self._note("citations")
        head = [words for words in (title, _string(block, "context")) if words]
        if source.get("type") == "text":
            words = "\n\n".join([*head, _string(source, "data")])
            yield Text(words, _cache_in(block))
        elif source.get("type") == "content":
            yield from (Text(words) for words in head)
            yield from self._parts(source.get("content"), f"{where}.source.content")
        else:
            media = self._media("document", source)
            if media is not None:
                media.name, media.cache = title, _cache_in(block)
                yield media

    def _media(self, kind: str, source: Mapping[str, Any]) -> Media | None:
        made = Media(cast(Any, kind), media_type=_string(source, "media_type"))
        if source.get("type") == "base64":
            made.data = _string(source, "data")
        elif source.get("type") == "url":
            made.url = _string(source, "url")
        if made.data or made.url:
            return made
        # A file that lies at the vendor, which no other can read.
        self._note(f"{kind}.{source.get('type')}")
        return None

    def _search_result(self, block: Json, where: str) -> Iterator[Part]:
        head = [words for words in (_string(block, "title"), _string(block, "source")) if words]
        found = [part.text for part in self._parts(block.get("content"), f"{where}.content")
                 if isinstance(part, Text)]  # fmt: skip
        yield Text("\n\n".join([*head, *found]), _cache_in(block))

    def _tool_use(self, block: Json, where: str) -> Iterator[Part]:
        name, told = block.get("name"), block.get("id")
        if not isinstance(name, str) or not isinstance(told, str):
            raise BadRequest("A tool_use must have an id and a name.", param=where)
        call_id, signature = opened_id(told)
        given = block.get("input")
        arguments = orjson.dumps(given if isinstance(given, dict) else {}).decode()
        yield ToolCall(call_id, name, arguments, signature, _cache_in(block))

    def _tool_result(self, block: Json, where: str) -> Iterator[Part]:
        told = block.get("tool_use_id")
        if not isinstance(told, str):
            raise BadRequest("A tool_result must have a tool_use_id.", param=where)
        parts = [part for part in self._parts(block.get("content"), f"{where}.content")
                 if isinstance(part, Text | Media)]  # fmt: skip
        failed = block.get("is_error") is True
        yield ToolResult(opened_id(told)[0], parts, failed, _cache_in(block))

    def _thinking(self, block: Json, where: str) -> Iterator[Part]:
        signature = given_back(_string(block, "signature"))
        yield Thinking(_string(block, "thinking"), signature, _string(block, "data"))

    # Tools, and the form of the answer

    def _tools(self) -> Iterator[Tool]:
        for index, tool in enumerate(items(self._body.get("tools"))):
            kind = mapping(tool).get("type") or "custom"
            if kind != "custom":
                self._note(f"tools.{kind}")
                continue
            name = mapping(tool).get("name")
            if not isinstance(name, str):
                raise BadRequest("A tool must have a name.", param=f"tools.{index}.name")
            for field in sorted(tool.keys() - _TOOL_READ - _TOOL_NO_MATTER):
                self._note(f"tools.{field}")
            yield Tool(
                name,
                _string(tool, "description"),
                dict(mapping(tool.get("input_schema"))),
                strict=True if tool.get("strict") is True else None,
                cache=_cache_in(tool),
            )

    def _tool_choice(self, choice: Mapping[str, Any], tools: list[Tool]) -> ToolChoice | None:
        if not choice:
            return None
        mode = _CHOICES.get(str(choice.get("type")))
        if mode is None:
            raise BadRequest(
                "tool_choice must be of type auto, any, tool or none.", param="tool_choice.type"
            )
        name = _string(choice, "name")
        if not tools or (mode == "named" and name not in {tool.name for tool in tools}):
            # What is to be called is a tool of the vendor's own, which was noted.
            self._note("tool_choice")
            return None
        return ToolChoice(cast(Any, mode), name if mode == "named" else "")

    def _response_format(self) -> ResponseFormat | None:
        """Structured outputs: `output_config.format`, at first a field of its own."""
        told = mapping(self._body.get("output_config")).get("format")
        told = mapping(told or self._body.get("output_format"))
        if not told:
            return None
        if told.get("type") != "json_schema":
            self._note("output_config.format")
            return None
        return ResponseFormat("json_schema", schema=dict(mapping(told.get("schema"))), strict=True)


def _reasoning(body: Json) -> Reasoning | None:
    """How much to think: a budget, an effort, or both. Without either the target decides."""
    thinking = mapping(body.get("thinking"))
    effort = _string(mapping(body.get("output_config")), "effort")
    if not thinking and not effort:
        return None
    if thinking.get("type") == "disabled":
        return Reasoning(enabled=False)
    return Reasoning(
        effort="xhigh" if effort == "max" else effort,
        budget_tokens=integer(thinking.get("budget_tokens")),
        shown=thinking.get("display") != "omitted",
    )


def _user(metadata: Mapping[str, Any]) -> str:
    user = _string(metadata, "user_id")
    if len(user) <= LONGEST_USER:
        return user
    return hashlib.sha256(user.encode(errors="replace")).hexdigest()


def _cache_in(block: Mapping[str, Any]) -> str:
    """How long the prompt up to here is to be cached: "5m", "1h", or empty."""
    control = mapping(block.get("cache_control"))
    if not control:
        return ""
    return "1h" if control.get("ttl") == "1h" else "5m"


def _cache_to_the_end(messages: list[Message], cache: str) -> None:
    """A request may ask for all of itself to be cached: then its last part is marked."""
    last = messages[-1].parts[-1] if messages and messages[-1].parts else None
    if cache and isinstance(last, Text | Media | ToolCall | ToolResult) and not last.cache:
        last.cache = cache


def _number(body: Json, name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"{name} must be a number.", param=name)
    return float(value)


def _string(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    return value if isinstance(value, str) else ""
