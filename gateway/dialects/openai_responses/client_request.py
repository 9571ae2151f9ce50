"""Requests in OpenAI's Responses format, read into the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.canonical import ChatRequest, Reasoning, ResponseFormat, Tool, ToolChoice
from gateway.dialects import openai_fields as fields
from gateway.dialects.base import Json, items, mapping
from gateway.dialects.openai_responses.client_input import conversation, instructions, refers
from gateway.dialects.openai_responses.client_items import FREE_INPUT

#: Read below, echoed in the answer, or without a meaning for it (a hint about a cache, say).
_KNOWN = frozenset(
    {
        "background",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "metadata",
        "model",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning",
        "safety_identifier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
    }
)
#: What is called otherwise than in chat completions.
FIELD_NAMES = {
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "top_logprobs",
    "messages": "input",
    "image_url": "input_image",
    "file": "input_file",
}
#: Values that ask for nothing but what happens anyway.
_DEFAULTS: Json = {"truncation": ("disabled",), "service_tier": ("auto", "default")}
_LOGPROBS = "message.output_text.logprobs"
#: What is given without being asked for.
_INCLUDED = frozenset({_LOGPROBS, "reasoning.encrypted_content"})
_FREE_INPUT = {
    "type": "object",
    "properties": {FREE_INPUT: {"type": "string", "description": "The whole input of the tool."}},
    "required": [FREE_INPUT],
    "additionalProperties": False,
}


def read_request(body: Json) -> ChatRequest:
    """What is asked. Raises BadRequest, naming the field that cannot be understood."""
    unknown = [name for name in body if _is_unknown(name, body[name])]
    tools, choice = _tools(body, unknown)
    includes = items(body.get("include"))
    if not _INCLUDED.issuperset(map(str, includes)):
        unknown.append("include")
    return ChatRequest(
        messages=[*instructions(body), *conversation(body, unknown)],
        stream=body.get("stream") is True,
        max_tokens=fields.whole(body, "max_output_tokens"),
        temperature=fields.number(body, "temperature"),
        top_p=fields.number(body, "top_p"),
        logprobs=_LOGPROBS in includes or bool(body.get("top_logprobs")),
        top_logprobs=fields.whole(body, "top_logprobs"),
        tools=tools,
        tool_choice=choice,
        parallel_tools=fields.flag(body, "parallel_tool_calls"),
        response_format=_response_format(body, unknown),
        reasoning=_reasoning(body, unknown),
        user=str(body.get("safety_identifier") or body.get("user") or ""),
        unknown=unknown,
    )


def state_asked(body: Json) -> str:
    """The field that only a provider that keeps responses or files can serve; empty if none."""
    for name in ("previous_response_id", "conversation", "prompt"):
        if body.get(name):
            return name
    if body.get("store") is True:
        return "store"
    given = enumerate(items(body.get("input")))
    return next((f"input[{index}]" for index, item in given if refers(item)), "")


def _is_unknown(name: str, value: Any) -> bool:
    return name not in _KNOWN and value is not None and value not in _DEFAULTS.get(name, ())


# Tools


def _tools(body: Json, unknown: list[str]) -> tuple[list[Tool], ToolChoice | None]:
    tools = []
    for index, given in enumerate(fields.objects(body, "tools")):
        tool = _tool(given, f"tools[{index}].")
        if tool is None:
            unknown.append(f"tools.{given.get('type')}")
        else:
            tools.append(tool)
    choice = body.get("tool_choice")
    if mapping(choice).get("type") == "allowed_tools":
        return _allowed(tools, mapping(choice))
    return tools, _tool_choice(body, unknown)


def _tool(given: Mapping[str, Any], where: str) -> Tool | None:
    """A tool; None if it is one that only some providers have."""
    match given.get("type"):
        case "function":
            return Tool(
                name=fields.needed(given, "name", where),
                description=fields.text(given, "description", where),
                parameters=fields.object_(given, "parameters", where),
                strict=fields.flag(given, "strict", where),
            )
        case "custom":
            grammar = mapping(given.get("format")).get("definition")
            described = (fields.text(given, "description", where), _grammar(grammar))
            return Tool(
                name=fields.needed(given, "name", where),
                description="\n\n".join(filter(None, described)),
                parameters=_FREE_INPUT,
            )
    return None


def _grammar(definition: Any) -> str:
    return f"The input must follow this grammar:\n{definition}" if definition else ""


def _allowed(tools: list[Tool], choice: Mapping[str, Any]) -> tuple[list[Tool], ToolChoice]:
    """The tools that may be called: the model is told only of those."""
    names = {mapping(tool).get("name") for tool in items(choice.get("tools"))}
    mode = "required" if choice.get("mode") == "required" else "auto"
    return [tool for tool in tools if tool.name in names], ToolChoice(mode)  # type: ignore[arg-type]  # both are modes


def _tool_choice(body: Json, unknown: list[str]) -> ToolChoice | None:
    given = body.get("tool_choice")
    if given is None or given in ("auto", "none", "required"):
        return given and ToolChoice(given)
    choice = fields.object_(body, "tool_choice")
    if choice.get("type") in ("function", "custom"):
        return ToolChoice("named", fields.needed(choice, "name", "tool_choice."))
    unknown.append("tool_choice")
    return None


# The form of the answer


def _response_format(body: Json, unknown: list[str]) -> ResponseFormat | None:
    text = fields.object_(body, "text")
    if text.get("verbosity") not in (None, "medium"):
        unknown.append("text.verbosity")
    given, where = fields.object_(text, "format", "text."), "text.format."
    match given.get("type"):
        case None | "text":
            return None
        case "json_object":
            return ResponseFormat("json_object")
        case "json_schema":
            return ResponseFormat(
                "json_schema",
                name=fields.text(given, "name", where) or "answer",
                schema=fields.object_(given, "schema", where),
                strict=fields.flag(given, "strict", where),
                description=fields.text(given, "description", where),
            )
    unknown.append("text.format")
    return None


def _reasoning(body: Json, unknown: list[str]) -> Reasoning | None:
    given = fields.object_(body, "reasoning")
    told = {name: value for name, value in given.items() if value is not None}
    more = told.keys() - {"effort", "summary", "generate_summary"}
    unknown += [f"reasoning.{name}" for name in sorted(more)]
    if not told:
        return None
    effort = fields.text(told, "effort", "reasoning.")
    # Thoughts are shown even if no summary is asked for: without them no signature could
    # come back that their vendor accepts.
    return Reasoning(enabled=effort != "none", effort=effort)
