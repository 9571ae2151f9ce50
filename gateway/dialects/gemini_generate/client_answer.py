"""An answer of the hub's, written for clients of Gemini's (ai.google.dev/api/generate-content)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import orjson

from gateway import sse
from gateway.canonical import (
    Annotated,
    Event,
    Finished,
    LogProbs,
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
)
from gateway.dialects.base import Json, StreamWriter, integer, mapping
from gateway.dialects.gemini_generate.errors import write_error
from gateway.dialects.gemini_generate.signatures import UNSIGNED_CALL, wrapped, wrapped_redacted
from gateway.dialects.gemini_generate.usage import write_usage
from gateway.dialects.json_values import objects
from gateway.errors import BudgetUsedUp
from lib.errors import CourierError
from lib.json_reading import loads

_REASONS = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
#: A part for where there must be one. Google's Python client forgets turns with an empty piece.
_NOTHING: Json = {"text": ""}
#: What Google calls the model's failure to write a call that can be read.
_SPOILT_CALL = "MALFORMED_FUNCTION_CALL"


def ended(index: int, reason: str) -> Json:
    """A candidate that says no more than why it stopped."""
    return {"content": {"role": "model", "parts": [_NOTHING]}, "index": index, **finish(reason)}


def finish(reason: str) -> Json:
    """The fields that say why an answer stopped. Google's reasons are a closed list."""
    known = _REASONS.get(reason)
    if known:
        return {"finishReason": known}
    own = "MAX_TOKENS" if reason == BudgetUsedUp.reason else "OTHER"
    return {"finishReason": own, "finishMessage": reason}


def write_response(events: Sequence[Event]) -> Json:
    """A whole answer."""
    writer = GeminiWriter()
    pieces = [piece for event in events if (piece := writer.piece(event))]
    pieces += writer.last_pieces()
    candidates: dict[int, Json] = {}
    answer: Json = {}
    for piece in pieces:
        for candidate in piece.pop("candidates", ()):
            _join(candidates.setdefault(candidate["index"], _empty(candidate["index"])), candidate)
        answer |= piece
    return {"candidates": [candidates[index] for index in sorted(candidates)], **answer}


def _empty(index: int) -> Json:
    return {"content": {"role": "model", "parts": []}, "index": index}


def _join(whole: Json, piece: Json) -> None:
    """Add a piece of an answer to what there is of it: words to words of the same kind."""
    parts = whole["content"]["parts"]
    for part in piece.pop("content", {}).get("parts", ()):
        if part == _NOTHING and parts:
            continue
        if parts and _goes_on(parts[-1], part):
            parts[-1] |= {**part, "text": parts[-1]["text"] + part["text"]}
        else:
            parts.append(part)
    whole |= piece


def _goes_on(last: Json, part: Json) -> bool:
    is_text = "text" in last and "text" in part
    return is_text and "thoughtSignature" not in last and last.get("thought") == part.get("thought")


class GeminiWriter(StreamWriter):
    """Writes one stream: every event of it is a whole answer that holds one piece."""

    __slots__ = ("_answers", "_head", "_usage")

    def __init__(self) -> None:
        self._head = _head(Started("", ""))
        self._answers: dict[int, _Answer] = {}
        self._usage: Json | None = None

    def write(self, event: Event) -> bytes:
        piece = self.piece(event)
        return sse.frame_of(orjson.dumps(piece)) if piece else b""

    def close(self) -> bytes:
        return b"".join(sse.frame_of(orjson.dumps(piece)) for piece in self.last_pieces())

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return sse.frame_of(write_error(error, request_id))

    def piece(self, event: Event) -> Json:
        """What tells of `event`; empty if there is nothing to tell yet."""
        if isinstance(event, Started):
            self._head = _head(event)
            return {}
        if isinstance(event, UsageReported):
            self._usage = write_usage(event.usage)
            return {}
        choice = getattr(event, "choice", 0)
        answer = self._answers.get(choice)
        if answer is None:
            answer = self._answers[choice] = _Answer(choice)
        candidate = answer.candidate(event)
        return {"candidates": [candidate], **self._head} if candidate else {}

    def last_pieces(self) -> list[Json]:
        """What ends the answer: the reasons to stop, and the usage."""
        ends = [answer.end() for answer in self._answers.values()]
        last: Json = {"candidates": ends} if ends else {}
        if self._usage:
            last["usageMetadata"] = self._usage
        return [{**last, **self._head}]


def _head(started: Started) -> Json:
    """What all events of a stream have in common. Some upstreams do not say who they are."""
    head = {"responseId": started.id or uuid4().hex}
    return head | ({"modelVersion": started.model} if started.model else {})


class _Answer:
    """One of the answers. Google knows no pieces of a call: it is told when it is whole."""

    __slots__ = ("_called", "_calls", "_finish", "_index", "_is_spoilt", "_sources", "_texts")

    def __init__(self, index: int) -> None:
        self._index = index
        #: Whether a call has been told.
        self._called = False
        #: Those still to be told, by their place.
        self._calls: dict[int, _Call] = {}
        self._finish: Json = {}
        self._sources: list[Json] = []
        #: Kept because places of sources are counted in bytes of it.
        self._texts: list[str] = []
        self._is_spoilt = False

    def candidate(self, event: Event) -> Json:
        """What is to be told at `event`; empty if there is nothing yet."""
        if isinstance(event, ToolCallStarted):
            self._calls[event.index] = _Call(event)
            return {}
        if isinstance(event, ToolCallDelta):
            if event.index in self._calls:
                self._calls[event.index].arguments.append(event.arguments)
            return {}
        parts = self._finished_calls() + _parts(event)
        if isinstance(event, LogProbs):
            return {**self._told(parts), "logprobsResult": _logprobs(event)}
        self._note(event)
        return self._told(parts) if parts else {}

    def end(self) -> Json:
        """The last that is told of this answer."""
        candidate = {**self._told(self._finished_calls()), **self._finish}
        if self._is_spoilt:
            candidate["finishReason"] = _SPOILT_CALL
        if self._sources:
            said = "".join(self._texts)
            candidate["groundingMetadata"] = _grounding(self._sources, said)
        return candidate

    def _note(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self._texts.append(event.text)
        elif isinstance(event, Finished):
            self._finish = finish(event.reason)
        elif isinstance(event, Annotated):
            self._sources.append(event.annotation)

    def _told(self, parts: list[Json]) -> Json:
        return {"content": {"role": "model", "parts": parts or [_NOTHING]}, "index": self._index}

    def _finished_calls(self) -> list[Json]:
        if not self._calls:
            return []
        parts = [call.part() for call in self._calls.values()]
        self._calls.clear()
        self._is_spoilt = self._is_spoilt or None in parts
        told = [part for part in parts if part]
        if told and not self._called:
            # Without one, Gemini 3 would refuse the call when the client gives it back.
            self._called = True
            told[0].setdefault("thoughtSignature", UNSIGNED_CALL)
        return told


class _Call:
    """A call whose arguments are still coming."""

    __slots__ = ("_started", "arguments")

    def __init__(self, started: ToolCallStarted) -> None:
        self._started = started
        self.arguments: list[str] = []

    def part(self) -> Json | None:
        """The call; None if its arguments are no JSON object, so that nobody acts on half of it."""
        try:
            arguments = loads("".join(self.arguments) or "{}")
        except ValueError:
            return None
        if not isinstance(arguments, dict):
            return None
        call = {"id": self._started.id, "name": self._started.name, "args": arguments}
        part: Json = {"functionCall": call}
        return part | (
            {"thoughtSignature": self._started.signature} if self._started.signature else {}
        )


def _parts(event: Event) -> list[Json]:
    match event:
        case TextDelta(text=text) | RefusalDelta(text=text):
            return [{"text": text}] if text else []
        case ThinkingDelta(text=text):
            return [{"text": text, "thought": True}] if text else []
        case ThinkingSigned(signature=signature):
            return [{"text": "", "thought": True, "thoughtSignature": wrapped(signature)}]
        case ThinkingRedacted(data=data):
            return [{"text": "", "thought": True, "thoughtSignature": wrapped_redacted(data)}]
        case MediaMade(media=media) if media.data:
            return [{"inlineData": {"mimeType": media.media_type, "data": media.data}}]
        case MediaMade(media=media):
            return [{"fileData": {"mimeType": media.media_type, "fileUri": media.url}}]
        case _:
            return []


def _logprobs(event: LogProbs) -> Json:
    return {
        "chosenCandidates": [_token(token) for token in event.tokens],
        "topCandidates": [
            {"candidates": [_token(other) for other in objects(token.get("top_logprobs"))]}
            for token in event.tokens
        ],
    }


def _token(given: Mapping[str, Any]) -> Json:
    return {"token": given.get("token"), "logProbability": given.get("logprob")}


def _grounding(annotations: list[Json], said: str) -> Json:
    """Sources, each with the place in the text that rests on it, in bytes as Google counts."""
    cited = [mapping(each.get("url_citation")) for each in annotations]
    return {
        "groundingChunks": [
            {"web": {"uri": each.get("url"), "title": each.get("title")}} for each in cited
        ],
        "groundingSupports": [
            {
                "segment": {
                    "startIndex": len(said[: integer(each.get("start_index"))].encode()),
                    "endIndex": len(said[: integer(each.get("end_index"))].encode()),
                },
                "groundingChunkIndices": [index],
            }
            for index, each in enumerate(cited)
        ],
    }
