"""Cohere's embeddings, version 2 (docs.cohere.com/reference/embed)."""

from __future__ import annotations

from typing import Any

from gateway.canonical import Embedded, EmbeddingsRequest, Event, Started, UsageReported
from gateway.dialects.base import Destination, Drops, Json, UpstreamHalf, integer, mapping
from gateway.dialects.openai_embeddings import texts_of
from lib.tokens import TokenUsage

#: What vectors are for, by the words of this and of other vendors. It must be told.
_PURPOSES = {
    "query": "search_query",
    "search_query": "search_query",
    "retrieval_query": "search_query",
    "retrieval.query": "search_query",
    "question_answering": "search_query",
    "classification": "classification",
    "clustering": "clustering",
    "separation": "clustering",
}
_USUAL_PURPOSE = "search_document"


class CohereEmbeddings(UpstreamHalf[EmbeddingsRequest]):
    """Texts in, vectors of numbers out."""

    name = "cohere-embeddings"
    task = "embeddings"

    def is_answer(self, body: Any) -> bool:
        return isinstance(mapping(mapping(body).get("embeddings")).get("float"), list)

    def write_request(self, request: EmbeddingsRequest, to: Destination, drops: Drops) -> Json:
        body: Json = {
            "model": to.upstream_model,
            "texts": texts_of(request),
            "input_type": _PURPOSES.get(request.purpose.lower(), _USUAL_PURPOSE),
            "embedding_types": ["float"],
        }
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        return body

    def read_response(self, body: Json) -> list[Event]:
        meta = mapping(body.get("meta"))
        tokens = mapping(meta.get("billed_units")).get("input_tokens")
        events: list[Event] = [
            Started(str(body.get("id") or ""), ""),
            Embedded(body["embeddings"]["float"]),
        ]
        if tokens is not None:
            events.append(UsageReported(TokenUsage(input_tokens=integer(tokens))))
        return events


cohere_embeddings = CohereEmbeddings()
