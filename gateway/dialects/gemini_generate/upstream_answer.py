"""Answers of Gemini's, read into the hub. A stream's events are whole answers, each a piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import orjson

from gateway import sse
from gateway.canonical import (
    Annotated,
    Ended,
    Event,
    Failed,
    Finished,
    LogProbs,
    Media,
    MediaMade,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingSigned,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.dialects.base import Json, StreamReader, integer, items, mapping
from gateway.dialects.gemini_generate.client_request import code_text, kind_of, output_text
from gateway.dialects.gemini_generate.usage import knows_output, read_usage
from gateway.dialects.signatures import GOOGLE, marked
from lib.json_reading import loads

_REASONS = {
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
#: Reasons that say that there is no answer to be had: other formats know only success.
_SPOILT = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    }
)


def parsed(frame: bytes) -> Json:
    """The answer in one frame; empty for a comment. Raises ValueError."""
    data = sse.data_of(frame)
    if not data:
        return {}
    answer = loads(data)
    if not isinstance(answer, dict):
        raise ValueError("An event must be an object.")  # noqa: TRY004  # malformed, like bad JSON
    return answer


def failure_of(answer: Mapping[str, Any]) -> Json | None:
    """The error that stands where an answer should, its status as that of HTTP."""
    error = answer.get("error")
    if not error:
        return None
    if not isinstance(error, dict):
        return {"message": str(error)}
    named = {"status": error.get("code"), "code": error.get("status")}
    return {**error, **{name: value for name, value in named.items() if value is not None}}


def read_response(body: Json) -> list[Event]:
    """The events in a whole answer. Raises ValueError if the model failed at making one."""
    events = list(GeminiReader().read_answer(body))
    usage = read_usage(body.get("usageMetadata"))
    return [*events, UsageReported(usage)] if usage else events


class GeminiReader(StreamReader):
    """Reads one stream. It has no end marker: it is complete if all that began has finished."""

    __slots__ = ("_candidates", "_id", "_is_blocked")

    def __init__(self) -> None:
        self._candidates: dict[int, _Candidate] = {}
        self._is_blocked = False
        self._id = ""

    def read(self, frames: bytes) -> Iterator[Event]:
        for frame in sse.split(frames):
            answer = parsed(frame)
            if answer:
                failure = failure_of(answer)
                if failure:
                    yield Failed(failure)
                    return
                yield from self.read_answer(answer)
                yield from self._usage(answer.get("usageMetadata"))

    def _usage(self, told: Any) -> Iterator[Event]:
        usage = read_usage(told)
        if usage:
            knows = knows_output(told, finished=self._is_complete)
            yield UsageReported(usage, before_output=not knows)

    def close(self) -> Iterable[Event]:
        return [Ended()] if self._is_complete else []

    def read_answer(self, answer: Json) -> Iterator[Event]:
        """The events in one answer, or in one piece of it."""
        if not self._id:
            self._id = str(answer.get("responseId") or uuid4().hex)
            yield Started(self._id, str(answer.get("modelVersion") or ""))
        for given in items(answer.get("candidates")):
            if isinstance(given, dict):
                yield from self._candidate(integer(given.get("index"))).read(given)
        if mapping(answer.get("promptFeedback")).get("blockReason") and not self._is_blocked:
            self._is_blocked = True
            yield Finished("content_filter")

    @property
    def _is_complete(self) -> bool:
        if self._is_blocked:
            return True
        candidates = self._candidates.values()
        return bool(candidates) and all(candidate.has_finished for candidate in candidates)

    def _candidate(self, index: int) -> _Candidate:
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = self._candidates[index] = _Candidate(index, self._id)
        return candidate


class _Candidate:
    """What one of the answers has said so far."""

    __slots__ = ("_answer_id", "_calls", "_cited", "_index", "_texts", "_thinks", "has_finished")

    def __init__(self, index: int, answer_id: str) -> None:
        self._index = index
        self._answer_id = answer_id
        self._calls = 0
        #: Whether thoughts were the last that came.
        self._thinks = False
        #: Kept because sources of the text are told by places in it.
        self._texts: list[str] = []
        #: Which source at which place: a stream may tell of them again and again.
        self._cited: set[tuple[int, int, int]] = set()
        self.has_finished = False

    def read(self, given: Json) -> Iterator[Event]:
        for part in items(mapping(given.get("content")).get("parts")):
            if isinstance(part, dict):
                yield from self._part(part)
        if "logprobsResult" in given:
            yield from self._logprobs(mapping(given["logprobsResult"]))
        if "groundingMetadata" in given:
            yield from self._sources(mapping(given["groundingMetadata"]))
        reason = given.get("finishReason")
        if reason and not self.has_finished:
            self.has_finished = True
            yield Finished(self._reason(str(reason), given), choice=self._index)

    def _part(self, part: Json) -> Iterator[Event]:
        signature = str(part.get("thoughtSignature") or "")
        call = part.get("functionCall")
        if isinstance(call, dict):
            yield from self._call(call, signature)
            return
        text = part.get("text")
        if part.get("thought") is True:
            self._thinks = True
            yield ThinkingDelta(str(text or ""), self._index)
        if signature and self._thinks:
            self._thinks = False
            yield ThinkingSigned(marked(GOOGLE, signature), self._index)
        if part.get("thought") is not True:
            yield from self._said(part, text)

    def _said(self, part: Json, text: Any) -> Iterator[Event]:
        if not isinstance(text, str):
            media = _media(part)
            if media:
                yield MediaMade(media, self._index)
            text = _of_code(part)
        if text:
            self._thinks = False
            self._texts.append(text)
            yield TextDelta(text, self._index)

    def _call(self, given: Json, signature: str) -> Iterator[Event]:
        index, self._calls, self._thinks = self._calls, self._calls + 1, False
        # Vendors that the conversation goes to later want every call's id to be its own.
        call_id = str(given.get("id") or f"call_{self._answer_id[:24]}_{self._index}{index}")
        name = str(given.get("name") or "")
        yield ToolCallStarted(index, call_id, name, signature, self._index)
        arguments = orjson.dumps(given.get("args") or {}).decode()
        yield ToolCallDelta(index, arguments, self._index)

    def _reason(self, told: str, given: Json) -> str:
        if told in _SPOILT:
            raise ValueError(f"The model failed: {told}.")
        reason = _REASONS.get(told, "stop")
        return "tool_calls" if reason == "stop" and self._calls else reason

    def _logprobs(self, given: Mapping[str, Any]) -> Iterator[Event]:
        tops = items(given.get("topCandidates"))
        tokens = []
        for place, chosen in enumerate(map(mapping, items(given.get("chosenCandidates")))):
            others = mapping(tops[place]) if place < len(tops) else {}
            alternatives = [_token(mapping(other)) for other in items(others.get("candidates"))]
            tokens.append({**_token(chosen), "top_logprobs": alternatives})
        if tokens:
            yield LogProbs(tokens, self._index)

    def _sources(self, given: Mapping[str, Any]) -> Iterator[Event]:
        chunks = map(mapping, items(given.get("groundingChunks")))
        pages = [mapping(chunk.get("web")) for chunk in chunks]
        said = "".join(self._texts).encode()
        for support in map(mapping, items(given.get("groundingSupports"))):
            segment = mapping(support.get("segment"))
            start = _characters(said, segment.get("startIndex"))
            end = _characters(said, segment.get("endIndex"))
            for index in map(integer, items(support.get("groundingChunkIndices"))):
                if index < len(pages) and (index, start, end) not in self._cited:
                    self._cited.add((index, start, end))
                    yield Annotated(_citation(pages[index], start, end), self._index)


def _citation(page: Mapping[str, Any], start: int, end: int) -> Json:
    cited = {"url": str(page.get("uri") or ""), "title": str(page.get("title") or "")}
    return {
        "type": "url_citation",
        "url_citation": {**cited, "start_index": start, "end_index": end},
    }


def _characters(said: bytes, length: Any) -> int:
    """Google counts places in bytes of UTF-8."""
    return len(said[: integer(length)].decode(errors="ignore"))


def _token(given: Mapping[str, Any]) -> Json:
    token = str(given.get("token") or "")
    logprob = given.get("logProbability")
    return {
        "token": token,
        "logprob": logprob if isinstance(logprob, int | float) else 0.0,
        "bytes": list(token.encode(errors="replace")),
    }


def _media(part: Json) -> Media | None:
    inline, file = part.get("inlineData"), part.get("fileData")
    if isinstance(inline, dict):
        media_type = str(inline.get("mimeType") or "")
        return Media(kind_of(media_type), media_type, data=str(inline.get("data") or ""))
    if isinstance(file, dict):
        media_type = str(file.get("mimeType") or "")
        return Media(kind_of(media_type), media_type, url=str(file.get("fileUri") or ""))
    return None


def _of_code(part: Json) -> str:
    if isinstance(part.get("executableCode"), dict):
        return code_text(part["executableCode"])
    if isinstance(part.get("codeExecutionResult"), dict):
        return output_text(part["codeExecutionResult"])
    return ""
