"""Whole answers for clients of chat completions, written from events."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from gateway.canonical import (
    Annotated,
    Event,
    Finished,
    Json,
    LogProbs,
    Media,
    MediaMade,
    RefusalDelta,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    signed_id,
)
from gateway.dialects.openai_parts import data_uri
from gateway.dialects.openai_usage import write_usage
from gateway.dialects.signatures import named


def knows_functions_only(request: Json) -> bool:
    """Whether a client knows functions, one at a time, and no tools (OpenAI's format of 2023)."""
    return bool(request.get("functions")) and not request.get("tools")


def signed_detail(text: str, signature: str) -> Json:
    """Thoughts with their signature, in OpenRouter's shape, which clients give back as it is."""
    return {"type": "reasoning.text", "text": text, "signature": named(signature)}


def hidden_detail(data: str) -> Json:
    return {"type": "reasoning.encrypted", "data": named(data)}


def image_part(media: Media) -> Json:
    return {"type": "image_url", "image_url": {"url": data_uri(media)}}


class WholeChoice:
    """One answer, put together."""

    def __init__(self) -> None:
        self._words: dict[type, list[str]] = {}
        self._unsigned: list[str] = []
        self._lists: dict[str, list[Any]] = {}
        self._calls: dict[int, Json] = {}
        self._sound: Json = {}
        self.finish = "stop"

    def add(self, event: Event) -> None:
        match event:
            case TextDelta(text) | RefusalDelta(text):
                self._words.setdefault(type(event), []).append(text)
            case ThinkingDelta(text):
                self._words.setdefault(ThinkingDelta, []).append(text)
                self._unsigned.append(text)
            case ToolCallStarted():
                function = {"name": event.name, "arguments": ""}
                told_id = signed_id(event.id, event.signature)
                self._calls[event.index] = {"id": told_id, "type": "function", "function": function}
            case ToolCallDelta():
                self._calls[event.index]["function"]["arguments"] += event.arguments
            case Finished(reason):
                self.finish = reason
            case _:
                self._add_to_list(event)

    def _add_to_list(self, event: Event) -> None:
        match event:
            case ThinkingSigned(signature):
                self._list("reasoning_details", signed_detail("".join(self._unsigned), signature))
                self._unsigned.clear()
            case ThinkingRedacted(data):
                self._list("reasoning_details", hidden_detail(data))
            case Annotated(annotation):
                self._list("annotations", annotation)
            case LogProbs(tokens):
                self._lists.setdefault("logprobs", []).extend(tokens)
            case MediaMade(media) if media.kind == "image":
                self._list("images", image_part(media))
            case MediaMade(media):
                self._sound = {"id": f"audio_{uuid4().hex}", "data": media.data}

    def _list(self, name: str, entry: Json) -> None:
        self._lists.setdefault(name, []).append(entry)

    def written(self, index: int) -> Json:
        lists = dict(self._lists)
        tokens = lists.pop("logprobs", None)
        return {
            "index": index,
            "message": {**self._message(), **lists},
            "logprobs": {"content": tokens, "refusal": None} if tokens else None,
            "finish_reason": self.finish,
        }

    def _message(self) -> Json:
        text, refusal, thoughts = map(self._joined, (TextDelta, RefusalDelta, ThinkingDelta))
        nothing = None if self._calls or refusal is not None else ""
        message = {"role": "assistant", "content": nothing if text is None else text}
        message["refusal"] = refusal
        if thoughts:
            message["reasoning_content"] = thoughts
        return {**message, **self.called(), **({"audio": self._sound} if self._sound else {})}

    def _joined(self, kind: type) -> str | None:
        return "".join(self._words[kind]) if kind in self._words else None

    def called(self) -> Json:
        """The field of the calls, if there are any."""
        calls = list(self._calls.values())
        for call in calls:
            call["function"]["arguments"] = call["function"]["arguments"] or "{}"
        return {"tool_calls": calls} if calls else {}


class WholeLegacyChoice(WholeChoice):
    """One answer for a client that knows functions only."""

    def written(self, index: int) -> Json:
        reason = "function_call" if self.finish == "tool_calls" else self.finish
        return {**super().written(index), "finish_reason": reason}

    def called(self) -> Json:
        calls = super().called().get("tool_calls")
        return {"function_call": calls[0]["function"]} if calls else {}


def write_response(events: Sequence[Event], request: Json) -> Json:
    """A whole chat completion."""
    started = next((event for event in events if isinstance(event, Started)), Started("", ""))
    told = [event.usage for event in events if isinstance(event, UsageReported)]
    kind = WholeLegacyChoice if knows_functions_only(request) else WholeChoice
    choices: dict[int, WholeChoice] = {0: kind()}
    for event in events:
        index = getattr(event, "choice", None)
        if index is not None:
            choices.setdefault(index, kind()).add(event)
    return {
        "id": started.id or f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": started.model or request.get("model"),
        "choices": [choices[index].written(index) for index in sorted(choices)],
        **({"usage": write_usage(told[-1])} if told else {}),
    }
