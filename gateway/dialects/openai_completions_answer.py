"""Answers for clients of completions, written from events. They have words only."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

import orjson

from gateway import sse
from gateway.canonical import (
    Event,
    Finished,
    Json,
    LogProbs,
    RefusalDelta,
    Started,
    TextDelta,
    UsageReported,
)
from gateway.dialects.base import StreamWriter, items, mapping
from gateway.dialects.openai import DONE, MOST_CHOICES, error_frame
from gateway.dialects.openai_usage import write_usage
from lib.errors import CourierError
from lib.tokens import TokenUsage


class Completion:
    """One answer, so far."""

    __slots__ = ("_offset", "finish")

    def __init__(self, echoed: str) -> None:
        self.finish = ""
        #: Where the next token begins, in characters.
        self._offset = len(echoed)

    def logprobs(self, tokens: Iterable[Json]) -> Json:
        """The object of these tokens (four lists of one length)."""
        told: Json = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token in tokens:
            word = str(token.get("token") or "")
            told["tokens"].append(word)
            told["token_logprobs"].append(token.get("logprob"))
            told["top_logprobs"].append(dict(map(_odds, items(token.get("top_logprobs")))))
            told["text_offset"].append(self._offset)
            self._offset += len(word)
        return told


def _odds(told: Any) -> tuple[str, Any]:
    other = mapping(told)
    return str(other.get("token") or ""), other.get("logprob")


class CompletionWriter(StreamWriter):
    """Writes one stream of chunks."""

    def __init__(self, request: Json, prompt: str) -> None:
        self._asks_usage = mapping(request.get("stream_options")).get("include_usage") is True
        self._echoed = prompt if request.get("echo") is True else ""
        self._head = head_of(Started("", ""), request)
        self._request = request
        self._choices: dict[int, Completion] = {}
        self._usage: TokenUsage | None = None
        self._reason = "stop"

    def write(self, event: Event) -> bytes:
        match event:
            case Started():
                self._head = head_of(event, self._request)
            case UsageReported(usage):
                self._usage = usage
            case TextDelta(text, index) | RefusalDelta(text, index) if index < MOST_CHOICES:
                begun, _ = self._begun(index)
                return begun + self._chunk(text, index)
            case LogProbs(tokens, index) if index < MOST_CHOICES:
                begun, choice = self._begun(index)
                return begun + self._chunk("", index, logprobs=choice.logprobs(tokens))
            case Finished(reason) if event.choice < MOST_CHOICES:
                begun, choice = self._begun(event.choice)
                choice.finish = self._reason = reason
                return begun
        return b""

    def _begun(self, index: int) -> tuple[bytes, Completion]:
        """The choice, and what comes before its first words."""
        choice = self._choices.get(index)
        if choice is not None:
            return b"", choice
        choice = self._choices[index] = Completion(self._echoed)
        return (self._chunk(self._echoed, index) if self._echoed else b""), choice

    def _chunk(
        self, text: str, index: int, finish: str | None = None, logprobs: Json | None = None
    ) -> bytes:
        choice = {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}
        usage = {"usage": None} if self._asks_usage else {}
        return sse.frame_of(orjson.dumps({**self._head, "choices": [choice], **usage}))

    def close(self) -> bytes:
        ending = [self._begun(0)[0]]
        for index, choice in sorted(self._choices.items()):
            ending.append(self._chunk("", index, reason_of(choice.finish or self._reason)))
        if self._asks_usage and self._usage:
            told = {**self._head, "choices": [], "usage": write_usage(self._usage)}
            ending.append(sse.frame_of(orjson.dumps(told)))
        return b"".join([*ending, DONE])

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return error_frame(error, request_id)


def head_of(started: Started, request: Json) -> Json:
    """What stands before the choices."""
    return {
        "id": started.id or f"cmpl-{uuid4().hex}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": started.model or request.get("model"),
    }


def reason_of(reason: str) -> str:
    """The reason to finish, in a format that knows no calls."""
    return "stop" if reason == "tool_calls" else reason


def write_response(events: Sequence[Event], request: Json, prompt: str) -> Json:
    """A whole completion."""
    started = next((event for event in events if isinstance(event, Started)), Started("", ""))
    told = [event.usage for event in events if isinstance(event, UsageReported)]
    indexes = sorted({0, *(getattr(event, "choice", 0) for event in events)})
    echoed = prompt if request.get("echo") is True else ""
    return {
        **head_of(started, request),
        "choices": [_choice(events, index, echoed) for index in indexes],
        **({"usage": write_usage(told[-1])} if told else {}),
    }


def _choice(events: Sequence[Event], index: int, echoed: str) -> Json:
    own = [event for event in events if getattr(event, "choice", None) == index]
    words = [event.text for event in own if isinstance(event, TextDelta | RefusalDelta)]
    tokens = [token for event in own if isinstance(event, LogProbs) for token in event.tokens]
    reasons = [event.reason for event in own if isinstance(event, Finished)]
    return {
        "text": echoed + "".join(words),
        "index": index,
        "logprobs": Completion(echoed).logprobs(tokens) if tokens else None,
        "finish_reason": reason_of(reasons[0] if reasons else "stop"),
    }
