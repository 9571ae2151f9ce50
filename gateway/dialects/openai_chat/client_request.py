"""What a client of chat completions asks, read into the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    opened_id,
)
from gateway.dialects import openai_fields as fields
from gateway.dialects.base import items, mapping
from gateway.dialects.openai_chat.client_answer import knows_functions_only
from gateway.dialects.openai_parts import cache_of, read_content
from gateway.dialects.signatures import given_back
from gateway.errors import BadRequest

#: Fields that are read, in one place or another.
READ = frozenset({
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
    "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty", "n",
    "logprobs", "top_logprobs", "logit_bias", "tools", "tool_choice", "parallel_tool_calls",
    "functions", "function_call", "response_format", "reasoning_effort", "reasoning", "thinking",
    "include_reasoning", "user", "safety_identifier",
})  # fmt: skip
#: Values that ask for nothing but what happens anyway.
HARMLESS: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "metadata": ({},),
}


def read_request(body: Json) -> ChatRequest:
    """What is asked. Raises BadRequest, naming the field that cannot be understood."""
    request = ChatRequest(
        Conversation().read(fields.objects(body, "messages")),
        stream=bool(body.get("stream")),
        tools=_tools(body),
        tool_choice=_tool_choice(body),
        parallel_tools=False
        if knows_functions_only(body)
        else fields.flag(body, "parallel_tool_calls"),
        response_format=_response_format(fields.object_(body, "response_format")),
        reasoning=_reasoning(body),
        user=fields.text(body, "user") or fields.text(body, "safety_identifier"),
    )
    read_sampling(body, request)
    request.max_tokens = fields.whole(body, "max_completion_tokens") or request.max_tokens
    request.logprobs = bool(fields.flag(body, "logprobs"))
    request.top_logprobs = fields.whole(body, "top_logprobs")
    request.unknown = [*unread(body, READ), *_odd_tools(body)]
    _keep_allowed(body, request)
    return request


def read_sampling(body: Json, request: ChatRequest) -> None:
    """What both of OpenAI's formats for words say of how they are chosen."""
    request.max_tokens = fields.whole(body, "max_tokens")
    request.temperature = fields.number(body, "temperature")
    request.top_p = fields.number(body, "top_p")
    request.top_k = fields.signed(body, "top_k")
    request.stop = fields.texts(body, "stop")
    request.seed = fields.signed(body, "seed")
    request.presence_penalty = fields.number(body, "presence_penalty")
    request.frequency_penalty = fields.number(body, "frequency_penalty")
    request.n = max(fields.whole(body, "n") or 1, 1)
    request.logit_bias = fields.object_(body, "logit_bias") or None


def unread(body: Json, read: frozenset[str]) -> list[str]:
    """The fields that say something that nobody reads."""
    return [
        name
        for name, value in body.items()
        if name not in read and value is not None and value not in HARMLESS.get(name, ())
    ]


class Conversation:
    """Reads messages in their order: results of functions name calls before them."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        #: Of functions: the call made last of each, which has no id in the format.
        self._ids: dict[str, str] = {}

    def read(self, messages: Any) -> list[Message]:
        for place, message in enumerate(messages):
            role = message.get("role")
            reader = self._READERS.get(role) if isinstance(role, str) else None
            if reader is None:
                raise BadRequest(
                    f"Invalid 'messages.{place}.role': it must be one of "
                    f"{', '.join(self._READERS)}.",
                    param=f"messages.{place}.role",
                )
            reader(self, message, f"messages.{place}.")
        return self._messages

    def _read_instructions(self, message: Json, where: str) -> None:
        self._add("system", message, read_content(message, where))

    def _read_user(self, message: Json, where: str) -> None:
        self._add("user", message, read_content(message, where))

    def _read_assistant(self, message: Json, where: str) -> None:
        parts = read_content(message, where)
        if not any(isinstance(part, Thinking) for part in parts):
            parts[:0] = _thoughts(message)
        if refusal := fields.text(message, "refusal", where):
            parts.append(Refusal(refusal))
        for number, call in enumerate(fields.objects(message, "tool_calls", where)):
            parts.append(_call(call, f"{where}tool_calls.{number}."))
        if message.get("function_call"):
            parts.append(self._function_call(fields.object_(message, "function_call", where)))
        self._add("assistant", message, parts)

    def _function_call(self, given: Json) -> ToolCall:
        name = fields.text(given, "name", "function_call.")
        self._ids[name] = call_id = f"call_{len(self._messages)}_{name}"
        return ToolCall(call_id, name, _arguments(given))

    def _read_result(self, message: Json, where: str) -> None:
        call_id, _ = opened_id(fields.text(message, "tool_call_id", where))
        self._add_result(call_id, message, where)

    def _read_function_result(self, message: Json, where: str) -> None:
        name = fields.text(message, "name", where)
        self._add_result(self._ids.get(name, f"call_{name}"), message, where)

    def _add_result(self, call_id: str, message: Json, where: str) -> None:
        said = read_content(message, where)
        parts = [part for part in said if isinstance(part, Text | Media)]
        marks = (part.cache for part in parts if part.cache)
        result = ToolResult(call_id, parts, cache=cache_of(message) or next(marks, ""))
        last = self._messages[-1] if self._messages else None
        # Answers to parallel calls are one turn.
        if last and last.role == "user" and isinstance(last.parts[-1], ToolResult):
            last.parts.append(result)
        else:
            self._messages.append(Message("user", [result]))

    def _add(self, role: Any, message: Json, parts: list[Part]) -> None:
        if not parts:
            return
        if (mark := cache_of(message)) and hasattr(parts[-1], "cache"):
            parts[-1].cache = mark
        self._messages.append(Message(role, parts, str(message.get("name") or "")))

    _READERS: dict[str, Callable[[Conversation, Json, str], None]] = {
        "system": _read_instructions,
        "developer": _read_instructions,
        "user": _read_user,
        "assistant": _read_assistant,
        "tool": _read_result,
        "function": _read_function_result,
    }


def _thoughts(message: Json) -> list[Part]:
    """What an assistant thought, as clients give it back.

    With signatures in `reasoning_details` (OpenRouter's, and what Courier writes) or in
    `thinking_blocks` (LiteLLM's); without, in `reasoning_content` or `reasoning`.
    """
    told = [
        *map(_detail, items(message.get("reasoning_details"))),
        *map(_block, items(message.get("thinking_blocks"))),
    ]
    signed: list[Part] = [part for part in told if part.signature or part.redacted]
    if signed:
        return signed
    words = message.get("reasoning_content") or message.get("reasoning")
    return [Thinking(words)] if isinstance(words, str) else []


def _detail(given: Any) -> Thinking:
    detail = mapping(given)
    if detail.get("type") == "reasoning.encrypted":
        return Thinking("", redacted=given_back(str(detail.get("data") or "")))
    return Thinking(str(detail.get("text") or ""), given_back(str(detail.get("signature") or "")))


def _block(given: Any) -> Thinking:
    block = mapping(given)
    if block.get("type") == "redacted_thinking":
        return Thinking("", redacted=str(block.get("data") or ""))
    return Thinking(str(block.get("thinking") or ""), str(block.get("signature") or ""))


def _call(given: Json, where: str) -> ToolCall:
    call_id, signature = opened_id(fields.text(given, "id", where))
    function = fields.object_(given, "function", where)
    name = fields.text(function, "name", f"{where}function.")
    if not name:
        raise BadRequest(
            f"Invalid '{where}function.name': it is missing.", param=f"{where}function.name"
        )
    google = mapping(mapping(given.get("extra_content")).get("google"))
    signature = signature or str(google.get("thought_signature") or "")
    return ToolCall(call_id, name, _arguments(function), signature, cache_of(given))


def _arguments(function: Json) -> str:
    return fields.text(function, "arguments") or "{}"


def _tools(body: Json) -> list[Tool]:
    given = [tool for tool in fields.objects(body, "tools") if _is_function(tool)]
    functions = [tool.get("function") or tool for tool in given]
    functions += fields.objects(body, "functions")
    tools = [_tool(mapping(function), place) for place, function in enumerate(functions)]
    for tool, told in zip(tools, given, strict=False):
        tool.cache = cache_of(told) or tool.cache
    return tools


def _is_function(tool: Json) -> bool:
    return bool(tool.get("type", "function") == "function")


def _tool(function: Any, place: int) -> Tool:
    where = f"tools.{place}.function."
    name = fields.text(function, "name", where)
    if not name:
        raise BadRequest(f"Invalid '{where}name': it is missing.", param=f"{where}name")
    return Tool(
        name,
        fields.text(function, "description", where),
        fields.object_(function, "parameters", where),
        fields.flag(function, "strict", where),
        cache_of(function),
    )


def _odd_tools(body: Json) -> Iterator[str]:
    """Tools of other types than functions, which vendors have each their own of."""
    for tool in fields.objects(body, "tools"):
        if not _is_function(tool):
            yield f"tools[].{tool.get('type')}"


def _tool_choice(body: Json) -> ToolChoice | None:
    choice = body.get("tool_choice") or body.get("function_call")
    match choice:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(choice)
        case "any":
            return ToolChoice("required")
        case {"type": "allowed_tools"}:
            mode = mapping(choice.get("allowed_tools")).get("mode")
            return ToolChoice("required" if mode == "required" else "auto")
        case {"function": {"name": str(name)}} | {"name": str(name)}:
            return ToolChoice("named", name)
        case _:
            raise BadRequest(
                "Invalid 'tool_choice': it must be auto, none, required or the name of a function.",
                param="tool_choice",
            )


def _keep_allowed(body: Json, request: ChatRequest) -> None:
    """Of the tools, only those that `allowed_tools` lets the model choose from."""
    allowed = mapping(mapping(body.get("tool_choice")).get("allowed_tools"))
    named = [mapping(tool) for tool in items(allowed.get("tools"))]
    if names := [mapping(tool.get("function")).get("name") or tool.get("name") for tool in named]:
        request.tools = [tool for tool in request.tools if tool.name in names]


def _response_format(given: Json) -> ResponseFormat | None:
    kind = given.get("type", "text")
    if kind == "text":
        return None
    asked = fields.object_(given, "json_schema", "response_format.")
    # Some servers take the schema beside the type.
    schema = asked.get("schema") or given.get("schema")
    if kind == "json_object" and not schema:
        return ResponseFormat("json_object")
    if kind not in ("json_schema", "json_object") or not isinstance(schema, dict):
        raise BadRequest(
            "Invalid 'response_format': it must be text, json_object, or a json_schema.",
            param="response_format",
        )
    return ResponseFormat(
        "json_schema",
        fields.text(asked, "name", "response_format.json_schema.") or "answer",
        schema,
        fields.flag(asked, "strict", "response_format.json_schema."),
        fields.text(asked, "description", "response_format.json_schema."),
    )


def _reasoning(body: Json) -> Reasoning | None:
    """From OpenAI's effort, OpenRouter's object, or Anthropic's as many servers take it."""
    told, thinking = fields.object_(body, "reasoning"), fields.object_(body, "thinking")
    effort = fields.text(body, "reasoning_effort") or fields.text(told, "effort", "reasoning.")
    budget = fields.whole(told, "max_tokens", "reasoning.")
    budget = budget or fields.whole(thinking, "budget_tokens", "thinking.")
    is_off = effort == "none" or told.get("enabled") is False or thinking.get("type") == "disabled"
    if not (effort or told or thinking):
        return None
    shown = told.get("exclude") is not True and body.get("include_reasoning") is not False
    return Reasoning(not is_off, effort, budget or 0, shown)
