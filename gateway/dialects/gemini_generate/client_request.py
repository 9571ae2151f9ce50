"""What a client of Gemini's asks, read into the hub (ai.google.dev/api/generate-content)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
from gateway.dialects.gemini_generate.fields import objects, parts_of, told, unread
from gateway.dialects.gemini_generate.schema import json_schema
from gateway.dialects.gemini_generate.signatures import SKIPS_VALIDATION, UNSIGNED_CALL, thinking_of
from gateway.dialects.openai_fields import LARGEST
from gateway.errors import BadRequest

_BODY = frozenset(
    {"contents", "systemInstruction", "generationConfig", "tools", "toolConfig", "model"}
)
_CONFIG = frozenset(
    {
        "temperature", "topP", "topK", "maxOutputTokens", "stopSequences", "candidateCount", "seed",
        "presencePenalty", "frequencyPenalty", "responseSchema", "responseJsonSchema",
        "responseLogprobs", "logprobs", "thinkingConfig",
    }
)  # fmt: skip
_PART = frozenset(
    {
        "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode",
        "codeExecutionResult", "thought", "thoughtSignature",
    }
)  # fmt: skip
_DECLARATION = frozenset({"name", "description", "parameters", "parametersJsonSchema"})
#: What is called otherwise than in chat completions.
FIELD_NAMES = {
    "max_tokens": "generationConfig.maxOutputTokens",
    "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "stop": "generationConfig.stopSequences",
    "n": "generationConfig.candidateCount",
    "seed": "generationConfig.seed",
    "presence_penalty": "generationConfig.presencePenalty",
    "frequency_penalty": "generationConfig.frequencyPenalty",
    "logprobs": "generationConfig.responseLogprobs",
    "top_logprobs": "generationConfig.logprobs",
    "response_format": "generationConfig.responseMimeType",
    "reasoning_effort": "generationConfig.thinkingConfig",
    "tool_choice": "toolConfig",
    "messages": "contents",
    "messages.system": "systemInstruction",
    "image_url": "inlineData",
    "file": "inlineData",
    "input_audio": "inlineData",
}
_JSON = "application/json"
_TYPES = (_JSON, "text/plain")
_MODES = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto"}


def read_request(body: Json) -> ChatRequest:
    """What is asked. Raises BadRequest, naming the field that cannot be understood."""
    talk = _Conversation()
    messages = _joined(talk.message(content) for content in objects(body, "contents"))
    instruction = told(body, "systemInstruction")
    if instruction:
        messages.insert(0, Message("system", [Text(words_of(instruction))]))
    config = mapping(told(body, "generationConfig"))
    tools = [tool for given in objects(body, "tools") for tool in _tools(given, talk.unknown)]
    request = ChatRequest(messages, tools=tools, unknown=talk.unknown)
    _choose(request, mapping(told(body, "toolConfig")))
    _configure(request, config)
    request.unknown += unread(body, _BODY)
    request.unknown += unread(config, _CONFIG | _said_anyway(config), "generationConfig.")
    return request


def _joined(turns: Iterable[Message]) -> list[Message]:
    """The model's turns in a row as one: clients keep a turn for each piece of a stream."""
    joined: list[Message] = []
    for turn in turns:
        if turn.role == "assistant" and joined and joined[-1].role == "assistant":
            for part in turn.parts:
                _go_on(joined[-1].parts, part)
        else:
            joined.append(turn)
    return joined


def _go_on(parts: list[Part], part: Part) -> None:
    last = parts[-1] if parts else None
    if isinstance(last, Text) and isinstance(part, Text):
        last.text += part.text
    elif isinstance(last, Thinking) and isinstance(part, Thinking) and not last.signature:
        last.text, last.signature = last.text + part.text, part.signature
    else:
        parts.append(part)


def words_of(content: Any) -> str:
    """The words of an instruction, which clients also send as a mere string."""
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in parts_of(content))
    return "\n".join(text for text in texts if isinstance(text, str))


class _Conversation:
    """Reads contents one after the other, and knows which calls have no result yet."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self._made = 0
        self._open: list[ToolCall] = []

    def message(self, content: Json) -> Message:
        role = told(content, "role")
        parts = [part for given in parts_of(content) for part in self._parts(given)]
        if role == "model":
            return Message("assistant", parts)
        return Message("system" if role == "system" else "user", parts)

    def _parts(self, given: Json) -> list[Part]:
        self.unknown += unread(given, _PART, "parts.")
        call, result = told(given, "functionCall"), told(given, "functionResponse")
        if isinstance(call, dict):
            return [self._call(call, told(given, "thoughtSignature"))]
        if isinstance(result, dict):
            return [self._result(result)]
        if given.get("thought") is True:
            return [thinking_of(str(given.get("text") or ""), told(given, "thoughtSignature"))]
        return _said(given)

    def _call(self, given: Json, signature: Any) -> ToolCall:
        self._made += 1
        call_id, carried = opened_id(str(given.get("id") or f"call_{self._made}"))
        arguments = orjson.dumps(given.get("args") or {}).decode()
        signature = signature if isinstance(signature, str) else carried
        signature = "" if signature in (SKIPS_VALIDATION, UNSIGNED_CALL) else signature
        call = ToolCall(call_id, str(given.get("name") or ""), arguments, signature)
        self._open.append(call)
        return call

    def _result(self, given: Json) -> ToolResult:
        response = told(given, "response")
        parts: list[Text | Media] = [Text(_result_text(response))]
        parts += [part for each in parts_of(given) for part in _media(each)]
        return ToolResult(self._answered(given), parts, failed=_has_failed(response))

    def _answered(self, given: Json) -> str:
        """The id of the call that a result is of: told, or that of the first one by this name."""
        call_id = opened_id(str(given.get("id") or ""))[0]
        same = (call.id == call_id if call_id else call.name == given.get("name")
                for call in self._open)  # fmt: skip
        found = next((index for index, is_it in enumerate(same) if is_it), None)
        if found is not None:
            return self._open.pop(found).id
        return call_id or f"call_of_{given.get('name')}"


def _said(given: Json) -> list[Part]:
    code, result = told(given, "executableCode"), told(given, "codeExecutionResult")
    if code:
        return [Text(code_text(mapping(code)))]
    if result:
        return [Text(output_text(mapping(result)))]
    if isinstance(given.get("text"), str):
        return [Text(given["text"])] if given["text"] else []
    return list(_media(given))


def _media(given: Json) -> list[Media]:
    inline = mapping(told(given, "inlineData"))
    file = mapping(told(given, "fileData"))
    if not inline and not file:
        return []
    media_type = str(told(inline or file, "mimeType") or "")
    return [
        Media(
            kind_of(media_type),
            media_type,
            data=_standard(str(inline.get("data") or "")),
            url=str(told(file, "fileUri") or ""),
            name=str(told(inline or file, "displayName") or ""),
        )
    ]


def kind_of(media_type: str) -> Any:
    """What of image, document and audio a media type is."""
    family = media_type.partition("/")[0]
    return family if family in {"image", "audio"} else "document"


def _standard(data: str) -> str:
    """Base64 in its standard alphabet: Google's clients also write the URL's."""
    return data.replace("-", "+").replace("_", "/")


def code_text(code: Any) -> str:
    """Code that the model ran at Google, as words that anybody can read."""
    return f"```{str(code.get('language') or '').lower()}\n{code.get('code') or ''}\n```\n"


def output_text(result: Any) -> str:
    """What code that the model ran at Google has printed."""
    return f"```\n{result.get('output') or ''}\n```\n"


def _result_text(response: Any) -> str:
    """A function's result as words. By Google's convention it stands in one field."""
    if isinstance(response, dict) and len(response) == 1:
        (name, value), *_ = response.items()
        if name in {"output", "result", "error"} and isinstance(value, str):
            return value
    return response if isinstance(response, str) else orjson.dumps(response).decode()


def _has_failed(response: Any) -> bool:
    return isinstance(response, dict) and response.keys() == {"error"}


def _tools(given: Json, unknown: list[str]) -> list[Tool]:
    unknown += unread(given, {"functionDeclarations"}, "tools.")
    tools = []
    for each in objects(given, "functionDeclarations"):
        unknown += unread(each, _DECLARATION, "functionDeclarations.")
        if not isinstance(each.get("name"), str):
            raise BadRequest("A function declaration has no name.", param="tools")
        schema = told(each, "parametersJsonSchema") or json_schema(each.get("parameters"))
        description = str(each.get("description") or "")
        tools.append(Tool(each["name"], description, dict(mapping(schema))))
    return tools


def _choose(request: ChatRequest, given: Any) -> None:
    config = mapping(told(given, "functionCallingConfig"))
    mode = _MODES.get(str(config.get("mode") or "").upper())
    request.unknown += unread(given, {"functionCallingConfig"}, "toolConfig.")
    if mode is None:
        return
    allowed = [name for name in items(told(config, "allowedFunctionNames")) if name]
    if mode == "required" and len(allowed) == 1:
        request.tool_choice = ToolChoice("named", str(allowed[0]))
        return
    request.tool_choice = ToolChoice(mode)  # type: ignore[arg-type]  # one of the values above
    if allowed:
        request.tools = [tool for tool in request.tools if tool.name in allowed]


def _configure(request: ChatRequest, config: Any) -> None:
    request.max_tokens = integer(told(config, "maxOutputTokens")) or None
    request.temperature = _number(config, "temperature")
    request.top_p = _number(config, "topP")
    request.top_k = _whole(config, "topK")
    request.seed = _whole(config, "seed")
    request.presence_penalty = _number(config, "presencePenalty")
    request.frequency_penalty = _number(config, "frequencyPenalty")
    request.stop = [str(each) for each in items(told(config, "stopSequences"))]
    request.n = max(integer(told(config, "candidateCount")), 1)
    request.logprobs = told(config, "responseLogprobs") is True
    request.top_logprobs = _whole(config, "logprobs")
    request.response_format = _format(config)
    request.reasoning = _reasoning(told(config, "thinkingConfig"))


def _number(config: Any, name: str) -> float | None:
    value = told(config, name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise BadRequest(f"{name} must be a number.", param=f"generationConfig.{name}")
    return value


def _whole(config: Any, name: str) -> int | None:
    value = _number(config, name)
    if value is not None and abs(value) > LARGEST:
        raise BadRequest(f"{name} must be a whole number.", param=f"generationConfig.{name}")
    return None if value is None else int(value)


def _format(config: Any) -> ResponseFormat | None:
    if told(config, "responseMimeType") != _JSON:
        return None
    schema = told(config, "responseJsonSchema") or json_schema(told(config, "responseSchema"))
    if not schema:
        return ResponseFormat("json_object")
    return ResponseFormat("json_schema", schema=dict(mapping(schema)))


def _reasoning(given: Any) -> Reasoning | None:
    if not isinstance(given, dict) or not given:
        return None
    budget, level = told(given, "thinkingBudget"), str(told(given, "thinkingLevel") or "")
    return Reasoning(
        enabled=budget != 0,
        effort="" if level.endswith("UNSPECIFIED") else level.lower(),
        budget_tokens=integer(budget),
        shown=told(given, "includeThoughts") is True,
    )


def _said_anyway(config: Any) -> set[str]:
    """Fields that ask for what every format gives."""
    modalities = [str(each).upper() for each in items(told(config, "responseModalities"))]
    read = {"responseModalities"} if modalities == ["TEXT"] else set()
    return read | ({"responseMimeType"} if told(config, "responseMimeType") in _TYPES else set())
