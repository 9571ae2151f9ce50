"""Gemini's embedContent and batchEmbedContents (ai.google.dev/api/embeddings)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway import sse
from gateway.canonical import Embedded, EmbeddingsRequest, Event, UsageReported
from gateway.dialects.base import (
    Batched,
    ClientHalf,
    Destination,
    Drops,
    Json,
    PassThroughDialect,
    StreamWatch,
    UpstreamHalf,
    integer,
    items,
    mapping,
)
from gateway.dialects.gemini_generate.client_request import words_of
from gateway.dialects.gemini_generate.errors import write_error
from gateway.dialects.gemini_generate.fields import objects, told, unread
from gateway.dialects.gemini_generate.upstream_answer import failure_of
from gateway.dialects.gemini_generate.usage import read_usage, write_usage
from gateway.dialects.openai import CHARACTERS_PER_TOKEN, length_of
from gateway.dialects.openai_usage import added_up
from gateway.errors import BadRequest
from lib.errors import CourierError
from lib.tokens import TokenUsage

_REQUEST = frozenset({"model", "content", "taskType", "outputDimensionality"})
#: What vectors are for, as Google names it, and as others do.
_PURPOSES = {
    "RETRIEVAL_QUERY": "query",
    "RETRIEVAL_DOCUMENT": "document",
    "SEMANTIC_SIMILARITY": "similarity",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
}
#: As Cohere's clients and others name the same.
_TASKS = {
    **{purpose: task for task, purpose in _PURPOSES.items()},
    "search_query": "RETRIEVAL_QUERY",
    "search_document": "RETRIEVAL_DOCUMENT",
    "passage": "RETRIEVAL_DOCUMENT",
}


class GeminiEmbedding(PassThroughDialect, ClientHalf[EmbeddingsRequest]):
    """What asking for one vector and asking for several have in common. Neither is streamed."""

    task = operation = "embeddings"

    @abstractmethod
    def _asked(self, body: Json) -> Sequence[Json]:
        """The single requests in a body. Raises BadRequest if there are none to be found."""

    def write_error(self, error: CourierError, request_id: str) -> bytes:
        return write_error(error, request_id)

    def error_frame(self, error: CourierError, request_id: str) -> bytes:
        return sse.frame_of(write_error(error, request_id))

    def failure_in(self, body: Any) -> Json | None:
        return failure_of(mapping(body))

    def usage_in(self, body: Json) -> TokenUsage | None:
        return read_usage(body.get("usageMetadata"))

    def text_in(self, body: Json) -> str:
        return ""

    def watch(self, request: Json) -> StreamWatch:
        raise TypeError("Embeddings are never streamed.")

    def input_text(self, body: Json) -> str:
        return "\n".join(words_of(told(each, "content")) for each in self._asked(body))

    def input_estimate(self, body: Json) -> int:
        return length_of(self.input_text(body)) // CHARACTERS_PER_TOKEN + 1

    def output_bound(self, body: Json) -> int:
        return 0

    def answers_asked(self, body: Json) -> int:
        return 0

    def read_request(self, body: Json) -> EmbeddingsRequest:
        asked = self._asked(body)
        first = asked[0]
        task = str(told(first, "taskType") or "")
        unknown = [name for each in asked for name in unread(each, _REQUEST)]
        if any(told(each, "taskType") != told(first, "taskType") for each in asked):
            unknown.append("taskType")
        return EmbeddingsRequest(
            [words_of(told(each, "content")) for each in asked],
            dimensions=integer(told(first, "outputDimensionality")) or None,
            purpose=_PURPOSES.get(task, "" if task.endswith("UNSPECIFIED") else task.lower()),
            unknown=unknown,
        )


class GeminiEmbedMany(GeminiEmbedding, Batched, UpstreamHalf[EmbeddingsRequest]):
    """batchEmbedContents: what other formats are translated to."""

    name = "gemini-embed"

    def _asked(self, body: Json) -> Sequence[Json]:
        asked = objects(body, "requests")
        if not asked:
            raise BadRequest("requests must hold at least one request.", param="requests")
        return asked

    def readdress(self, raw: bytes, body: Json, model: str) -> bytes:
        # Google wants each request to name the model that the path names.
        requests = [{**each, "model": resource(model)} for each in self._asked(body)]
        return orjson.dumps({**body, "requests": requests})

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("embeddings"), list)

    def inputs_asked(self, body: Json) -> int:
        return len(self._asked(body))

    def part(self, body: Json, start: int, stop: int) -> Json:
        return {**body, "requests": self._asked(body)[start:stop]}

    def joined(self, body: Json, answers: Sequence[tuple[int, Json]]) -> Json:
        vectors: list[Any] = []
        for start, answer in answers:
            if len(vectors) != start:
                raise ValueError("An input has no vector, or more than one.")
            vectors += items(answer.get("embeddings"))
        if len(vectors) != self.inputs_asked(body):
            raise ValueError("An input has no vector, or more than one.")
        used = added_up(answer.get("usageMetadata") for _, answer in answers)
        return {"embeddings": vectors, **({"usageMetadata": used} if used else {})}

    def write_response(self, events: Sequence[Event], request: Json) -> Json:
        return {"embeddings": [{"values": vector} for vector in _vectors(events)], **_used(events)}

    def write_request(self, request: EmbeddingsRequest, to: Destination, drops: Drops) -> Json:
        fields: Json = {"model": resource(to.upstream_model)}
        if request.purpose in _TASKS:
            fields["taskType"] = _TASKS[request.purpose]
        elif request.purpose:
            drops.note("input_type")
        if request.dimensions:
            fields["outputDimensionality"] = request.dimensions
        return {"requests": [{**fields, "content": _content(each)} for each in request.inputs]}

    def read_response(self, body: Json) -> list[Event]:
        given = map(mapping, items(body.get("embeddings")))
        vectors = [_values(each) for each in given]
        usage = self.usage_in(body)
        return [Embedded(vectors), *([UsageReported(usage)] if usage else [])]


class GeminiEmbedOne(GeminiEmbedding):
    """embedContent."""

    name = "gemini-embed-one"

    def _asked(self, body: Json) -> Sequence[Json]:
        return [body]

    def readdress(self, raw: bytes, body: Json, model: str) -> bytes:
        return orjson.dumps({**body, "model": resource(model)}) if "model" in body else raw

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("embedding"), dict)

    def write_response(self, events: Sequence[Event], request: Json) -> Json:
        first = next(iter(_vectors(events)), [])
        return {"embedding": {"values": first}, **_used(events)}


def resource(model: str) -> str:
    """A model by the name of its resource: with its collection before it."""
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"


def _content(given: str | list[int]) -> Json:
    if not isinstance(given, str):
        raise BadRequest("This provider embeds texts, and no lists of tokens.", param="input")
    return {"parts": [{"text": given}]}


def _vectors(events: Sequence[Event]) -> list[list[float]]:
    return [vector for event in events if isinstance(event, Embedded) for vector in event.vectors]


def _used(events: Sequence[Event]) -> Json:
    told_usages = [event.usage for event in events if isinstance(event, UsageReported)]
    return {"usageMetadata": write_usage(told_usages[-1])} if told_usages else {}


def _values(given: Mapping[str, Any]) -> list[float]:
    values = given.get("values")
    if not isinstance(values, list):
        raise ValueError("An embedding must have values.")  # noqa: TRY004  # malformed
    return values


gemini_embed = GeminiEmbedMany()
gemini_embed_one = GeminiEmbedOne()
