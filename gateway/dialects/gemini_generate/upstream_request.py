"""A request of the hub's, written for Gemini (ai.google.dev/api/generate-content)."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator

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
from gateway.dialects.gemini_generate.signatures import SKIPS_VALIDATION
from gateway.dialects.signatures import GOOGLE, unmarked
from lib.json_reading import loads

_GENERATION = re.compile(r"gemini-(\d+)")
#: Models from here on refuse a function call without its signature, and think by levels.
_NEW = 3
#: Where the client's format lets the media type be left out.
_USUAL_TYPES = {"image": "image/jpeg", "document": "application/pdf", "audio": "audio/wav"}
#: Tokens to think with, for models that know budgets only: as Google's own layer for
#: OpenAI's clients has it (ai.google.dev/gemini-api/docs/openai).
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}


def write_request(request: ChatRequest, to: Destination, drops: Drops) -> Json:
    """The body to send. What Gemini has no place for is noted in `drops`."""
    _note_drops(request, to.upstream_model, drops)
    contents, system = _Contents(to.upstream_model), []
    for message in request.messages:
        if message.role == "system":
            system += [{"text": part.text} for part in message.parts if isinstance(part, Text)]
        else:
            contents.add(message)
    # Google wants something that is said to the model, not only instructions.
    body: Json = {"contents": contents.written or [{"role": "user", "parts": system}]}
    if system and contents.written:
        body["systemInstruction"] = {"parts": system}
    if request.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}]
    if request.tool_choice:
        body["toolConfig"] = {"functionCallingConfig": _calling(request.tool_choice)}
    config = _config(request, to.upstream_model)
    return body | ({"generationConfig": config} if config else {})


def _note_drops(request: ChatRequest, model: str, drops: Drops) -> None:
    reasoning, parts = request.reasoning, list(_all_parts(request))
    details = {part.detail for part in parts if isinstance(part, Media)}
    has_no_place = {
        # The newer models cannot but think.
        "reasoning_effort": reasoning and not reasoning.enabled and _is_new(model),
        "logit_bias": request.logit_bias,
        "parallel_tool_calls": request.parallel_tools is False,
        "user": request.user,
        # Google caches unasked, or by a name.
        "cache_control": request.is_marked,
        "strict": any(tool.strict for tool in request.tools),
        "name": any(message.name for message in request.messages),
        "detail": details & {"low", "high"},
    }
    for name, is_given in has_no_place.items():
        if is_given:
            drops.note(name)


def _all_parts(request: ChatRequest) -> Iterator[Part]:
    return (part for message in request.messages for part in message.parts)


def _is_new(model: str) -> bool:
    """Whether a model wants its calls' signatures back, and thinks by levels."""
    found = _GENERATION.search(model)
    return found is not None and int(found[1]) >= _NEW


class _Contents:
    """Turns in Google's form: consecutive ones of one side are one, as Google wants results."""

    def __init__(self, model: str) -> None:
        self.written: list[Json] = []
        self._wants_signatures = _is_new(model)
        #: Names of the tools called, by the calls' ids: results are matched by name.
        self._called: dict[str, str] = {}

    def add(self, message: Message) -> None:
        parts = self._parts(message)
        if not parts:
            return
        role = "model" if message.role == "assistant" else "user"
        if self.written and self.written[-1]["role"] == role:
            self.written[-1]["parts"] += parts
        else:
            self.written.append({"role": role, "parts": parts})

    def _parts(self, message: Message) -> list[Json]:
        written: list[Json] = []
        signature = ""
        for part in message.parts:
            new = self._part(part)
            if signature and new:
                new[0].setdefault("thoughtSignature", signature)
                signature = ""
            if isinstance(part, Thinking):
                signature = unmarked(GOOGLE, part.signature)
            written += new
        if signature:
            written.append({"text": "", "thoughtSignature": signature})
        if message.role == "assistant" and self._wants_signatures:
            _sign_first_call(written)
        return written

    def _part(self, part: Part) -> list[Json]:
        match part:
            case Text(text=text) | Refusal(text=text):
                return [{"text": text}] if text else []
            case Thinking(text=text):
                return [{"text": text, "thought": True}] if text else []
            case Media():
                return [_media(part)]
            case ToolCall():
                return [self._call(part)]
            case ToolResult():
                return self._result(part)

    def _call(self, call: ToolCall) -> Json:
        self._called[call.id] = call.name
        written: Json = {
            "functionCall": {"id": call.id, "name": call.name, "args": _object(call.arguments)}
        }
        return written | ({"thoughtSignature": call.signature} if call.signature else {})

    def _result(self, result: ToolResult) -> list[Json]:
        words = "\n".join(part.text for part in result.parts if isinstance(part, Text))
        response = {"error": words} if result.failed else _response(words)
        written = {
            "functionResponse": {
                "id": result.call_id,
                "name": self._called.get(result.call_id, result.call_id),
                "response": response,
            }
        }
        # Beside the result, not in it: that is for the newest models only.
        return [written, *(_media(part) for part in result.parts if isinstance(part, Media))]


def _sign_first_call(parts: list[Json]) -> None:
    """Of calls that were made at once only the first is signed, and must be."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first.setdefault("thoughtSignature", SKIPS_VALIDATION)


def _response(words: str) -> Json:
    """A tool's result, which must be an object: its own if it is one."""
    try:
        given = loads(words)
    except ValueError:
        given = None
    return given if isinstance(given, dict) else {"output": words}


def _object(arguments: str) -> Json:
    try:
        given = loads(arguments or "{}")
    except ValueError:
        given = None
    # What a model once made of its arguments need not be JSON; a conversation goes on with it.
    return given if isinstance(given, dict) else {"arguments": arguments}


def _media(media: Media) -> Json:
    media_type = media.media_type or _guessed_type(media)
    if media.data:
        return {"inlineData": {"mimeType": media_type, "data": media.data}}
    return {"fileData": {"mimeType": media_type, "fileUri": media.url}}


def _guessed_type(media: Media) -> str:
    path = (media.url or media.name).partition("?")[0]
    return mimetypes.guess_type(path)[0] or _USUAL_TYPES[media.kind]


def _declaration(tool: Tool) -> Json:
    """A tool. Its schema goes whole, as JSON schema, of which `parameters` knows but a part."""
    written: Json = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    if tool.parameters:
        written["parametersJsonSchema"] = tool.parameters
    return written


def _calling(choice: ToolChoice) -> Json:
    written: Json = {"mode": _MODES[choice.mode]}
    if choice.mode == "named":
        written["allowedFunctionNames"] = [choice.name]
    return written


def _config(request: ChatRequest, model: str) -> Json:
    given = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "maxOutputTokens": request.max_tokens,
        "stopSequences": request.stop or None,
        "candidateCount": request.n if request.n > 1 else None,
        "seed": request.seed,
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
        "responseLogprobs": request.logprobs or None,
        "logprobs": request.top_logprobs or None,
        "thinkingConfig": _thinking(request.reasoning, model) if request.reasoning else None,
        **(_format(request.response_format) if request.response_format else {}),
    }
    return {name: value for name, value in given.items() if value is not None}


def _format(asked: ResponseFormat) -> Json:
    return {
        "responseMimeType": "application/json",
        "responseJsonSchema": asked.schema if asked.kind == "json_schema" else None,
    }


def _thinking(asked: Reasoning, model: str) -> Json:
    by_levels = _is_new(model)
    if not asked.enabled:
        return {"thinkingLevel": _level("minimal", model)} if by_levels else {"thinkingBudget": 0}
    written: Json = {"includeThoughts": True} if asked.shown else {}
    if asked.budget_tokens:
        written["thinkingBudget"] = asked.budget_tokens
    elif asked.effort and by_levels:
        written["thinkingLevel"] = _level(asked.effort, model)
    elif asked.effort in _BUDGETS:
        written["thinkingBudget"] = _BUDGETS[asked.effort]
    return written


def _level(effort: str, model: str) -> str:
    # Only the small models can think as little as that.
    if effort == "minimal" and "flash" not in model:
        return "low"
    return "high" if effort == "xhigh" else effort
