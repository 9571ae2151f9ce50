"""What is asked of Amazon Bedrock's Converse, written from the hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

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
from gateway.dialects.anthropic_messages import generations
from gateway.dialects.anthropic_messages.generations import BUDGETS, LEAST_BUDGET
from gateway.dialects.base import Destination, Drops, Json
from gateway.dialects.signatures import bare
from lib.json_reading import loads

#: Formats of documents, where the media type does not end in their name.
_DOCUMENTS = {
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "text/markdown": "md",
    "text/plain": "txt",
}
_AUDIO = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}
#: What the name of a document and the id of a call may not hold.
_UNFIT_NAME = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
_UNFIT_ID = re.compile(r"[^a-zA-Z0-9_.:-]")
LONGEST_ID = 64
LONGEST_NAME = 200


def written(request: ChatRequest, to: Destination, drops: Drops) -> Json:
    """The body of Converse. The model's name is in the path."""
    _note_what_has_no_place(request, drops)
    additional = _additional(request, to, drops)
    sampled = _sampled(request, to, "thinking" in additional, drops)
    if "top_k" in sampled:
        additional |= _top_k(sampled["top_k"], to)
    sections = {
        "messages": _messages(request.messages, drops),
        "system": _system(request.messages, drops),
        "inferenceConfig": _inference(request, sampled),
        "toolConfig": _tools(request, drops),
        "outputConfig": _output(request.response_format, drops),
        "additionalModelRequestFields": additional,
    }
    body: Json = {name: section for name, section in sections.items() if section}
    if request.stop and _is_claude(to):
        body["additionalModelResponseFieldPaths"] = ["/stop_sequence"]
    return body


def _note_what_has_no_place(request: ChatRequest, drops: Drops) -> None:
    given = {
        "seed": request.seed is not None,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "n": request.n > 1,
        "logprobs": request.logprobs,
        "top_logprobs": request.top_logprobs,
        "logit_bias": request.logit_bias,
        "parallel_tool_calls": request.parallel_tools is False,
        "user": request.user,
        "name": any(message.name for message in request.messages),
    }
    for name in (name for name, is_given in given.items() if is_given):
        drops.note(name)


def _sampled(request: ChatRequest, to: Destination, thinks: bool, drops: Drops) -> Json:  # noqa: FBT001
    if _is_claude(to):
        return generations.sampling(request, to.upstream_model, thinks, drops)
    given = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
    return {name: value for name, value in given.items() if value is not None}


def _inference(request: ChatRequest, sampled: Json) -> Json:
    told = {
        "maxTokens": request.max_tokens,
        "temperature": sampled.get("temperature"),
        "topP": sampled.get("top_p"),
        "stopSequences": request.stop or None,
    }
    return {name: value for name, value in told.items() if value is not None}


# Messages


def _system(messages: Iterable[Message], drops: Drops) -> list[Json]:
    told = (message for message in messages if message.role == "system")
    return [block for message in told for block in _blocks(message.parts, drops)]


def _messages(messages: Iterable[Message], drops: Drops) -> list[Json]:
    """Turns of user and assistant, which must take turns: neighbors of one role are joined."""
    turns: list[Json] = []
    for message in messages:
        if message.role == "system":
            continue
        blocks = list(_blocks(message.parts, drops))
        if turns and turns[-1]["role"] == message.role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": message.role, "content": blocks})
    return turns


def _blocks(parts: Sequence[Part], drops: Drops) -> Iterator[Json]:
    for part in parts:
        block = _block(part, drops)
        if block is not None:
            yield block
        if ttl := getattr(part, "cache", ""):
            yield _cache_point(ttl)


def _block(part: Part, drops: Drops) -> Json | None:
    """One block; None where there is nothing to send."""
    match part:
        case Text(text=text) | Refusal(text=text):
            # Blank text is refused.
            return {"text": text} if text.strip() else None
        case Media():
            return _media(part, drops)
        case Thinking():
            return _thinking(part)
        case ToolCall():
            call = {"toolUseId": _fit_id(part.id), "name": part.name}
            return {"toolUse": {**call, "input": _object(part.arguments)}}
        case ToolResult():
            return {"toolResult": _result(part, drops)}


def _cache_point(ttl: str) -> Json:
    point: Json = {"type": "default"}
    return {"cachePoint": {**point, "ttl": ttl} if ttl == "1h" else point}


def _thinking(part: Thinking) -> Json | None:
    if bare(part.redacted):
        return {"reasoningContent": {"redactedContent": part.redacted}}
    if not bare(part.signature):
        return None  # another vendor's thoughts, which this one would refuse
    said = {"text": part.text, "signature": part.signature}
    return {"reasoningContent": {"reasoningText": said}}


def _result(part: ToolResult, drops: Drops) -> Json:
    blocks = [block for block in _blocks(part.parts, drops) if "cachePoint" not in block]
    result = {"toolUseId": _fit_id(part.call_id), "content": blocks}
    return {**result, "status": "error"} if part.failed else result


def _media(part: Media, drops: Drops) -> Json | None:
    """An image, a document or a sound. Bedrock fetches nothing but from S3."""
    if part.data:
        source: Json = {"bytes": part.data}
    elif part.url.startswith("s3://"):
        source = {"s3Location": {"uri": part.url}}
    else:
        drops.note_media(part)
        return None
    block = {"format": _format(part), "source": source}
    if part.kind == "document":
        block["name"] = _fit_name(part.name)
    return {part.kind: block}


def _format(part: Media) -> str:
    kind = part.media_type.partition(";")[0].strip().lower()
    short = kind.rpartition("/")[2] or part.url.rpartition(".")[2]
    if part.kind == "document":
        return _DOCUMENTS.get(kind, short)
    if part.kind == "audio":
        return _AUDIO.get(short, short)
    return {"jpg": "jpeg"}.get(short, short)


def _fit_name(name: str) -> str:
    fit = " ".join(_UNFIT_NAME.sub(" ", name).split())
    return fit[:LONGEST_NAME] or "document"


def _fit_id(call_id: str) -> str:
    return _UNFIT_ID.sub("_", call_id)[:LONGEST_ID]


def _object(arguments: str) -> Any:
    """A call's arguments, which must be an object here, whatever the model once wrote."""
    try:
        value = loads(arguments or "{}")
    except ValueError:
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}


# Tools, the form of the answer, and what only some models know


def _tools(request: ChatRequest, drops: Drops) -> Json:
    """The tools, and which to call. A conversation with calls in it must name some."""
    tools = request.tools or [Tool(name) for name in _called(request.messages)]
    config: Json = {"tools": [spec for tool in tools for spec in _specs(tool)]} if tools else {}
    choice = _choice(request.tool_choice)
    if tools and choice:
        config["toolChoice"] = choice
    if request.tool_choice and request.tool_choice.mode == "none":
        if any(_called(request.messages)):
            drops.note("tool_choice")
        else:
            return {}
    return config


def _called(messages: Iterable[Message]) -> list[str]:
    """The names of the tools that were called in a conversation, each once."""
    parts = (part for message in messages for part in message.parts)
    return list(dict.fromkeys(part.name for part in parts if isinstance(part, ToolCall)))


def _specs(tool: Tool) -> Iterator[Json]:
    spec: Json = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    spec["inputSchema"] = {"json": tool.parameters or {"type": "object", "properties": {}}}
    if tool.strict is not None:
        spec["strict"] = tool.strict
    yield {"toolSpec": spec}
    if tool.cache:
        yield _cache_point(tool.cache)


def _choice(choice: ToolChoice | None) -> Json | None:
    match choice:
        case ToolChoice(mode="required"):
            return {"any": {}}
        case ToolChoice(mode="named", name=name):
            return {"tool": {"name": name}}
        case ToolChoice(mode="auto"):
            return {"auto": {}}
    return None


def _output(form: ResponseFormat | None, drops: Drops) -> Json | None:
    if form is None:
        return None
    if form.kind != "json_schema":
        drops.note("response_format")
        return None
    schema = {"schema": orjson.dumps(form.schema).decode(), "name": form.name}
    if form.description:
        schema["description"] = form.description
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}


def _is_claude(to: Destination) -> bool:
    return "anthropic." in to.upstream_model or "claude" in to.upstream_model


def _is_nova(to: Destination) -> bool:
    return "amazon.nova" in to.upstream_model


def _additional(request: ChatRequest, to: Destination, drops: Drops) -> Json:
    """What is the model's own matter, in the model's own words."""
    fields: Json = {}
    if request.reasoning and request.reasoning.enabled:
        thinking = None
        if not (_is_claude(to) and _excludes_thinking(request)):
            thinking = _reasoning(request.reasoning, request.max_tokens, to)
        if thinking is None:
            drops.note("reasoning_effort")
        fields |= thinking or {}
    return fields


def _excludes_thinking(request: ChatRequest) -> bool:
    """Whether Claude would refuse to think, for what else is asked or has been said.

    It does so beside a tool that must be called, and in the middle of calls whose thoughts are
    lost: see `anthropic_messages_question`.
    """
    choice = request.tool_choice
    if choice and choice.mode in {"required", "named"}:
        return True
    *before, last = request.messages
    if not before or not any(isinstance(part, ToolResult) for part in last.parts):
        return False
    own = (part for part in before[-1].parts if isinstance(part, Thinking))
    return not any(bare(part.signature or part.redacted) for part in own)


def _top_k(top_k: int, to: Destination) -> Json:
    return {"inferenceConfig": {"topK": top_k}} if _is_nova(to) else {"top_k": top_k}


def _reasoning(reasoning: Reasoning, max_tokens: int | None, to: Destination) -> Json | None:
    """How the model is told to think; None if nobody knows how."""
    effort = reasoning.effort or "medium"
    if _is_claude(to) and generations.thinks_adaptively(to.upstream_model):
        known = generations.effort_for(to.upstream_model, reasoning.effort)
        return {
            "thinking": {"type": "adaptive"},
            **({"output_config": {"effort": known}} if known else {}),
        }
    if _is_claude(to):
        budget = reasoning.budget_tokens or BUDGETS.get(effort, BUDGETS["high"])
        # It is a part of the whole, and must leave something to answer with.
        budget = min(budget, (max_tokens or budget + 1) - 1)
        enabled = {"type": "enabled", "budget_tokens": budget}
        return {"thinking": enabled} if budget >= LEAST_BUDGET else None
    if _is_nova(to):
        level = {"minimal": "low", "xhigh": "high", "max": "high"}.get(effort, effort)
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}}
    return {"reasoning_effort": effort} if "openai." in to.upstream_model else None
