"""Cohere's reranking, version 2 (docs.cohere.com/reference/rerank)."""

from __future__ import annotations

from typing import Any

from gateway.canonical import Event, RerankRequest, Started, UsageReported
from gateway.dialects.base import Destination, Drops, Json, UpstreamHalf, mapping
from gateway.dialects.rerank import ranked, read_usage


class CohereRerank(UpstreamHalf[RerankRequest]):
    """Texts in, places and scores out; charged by the search."""

    name = "cohere-rerank"
    task = "rerank"

    def is_answer(self, body: Any) -> bool:
        return isinstance(mapping(body).get("results"), list)

    def write_request(self, request: RerankRequest, to: Destination, drops: Drops) -> Json:
        body: Json = {
            "model": to.upstream_model,
            "query": request.query,
            "documents": request.documents,
        }
        if request.top_n is not None:
            body["top_n"] = request.top_n
        if request.max_tokens_per_document is not None:
            body["max_tokens_per_doc"] = request.max_tokens_per_document
        return body

    def read_response(self, body: Json) -> list[Event]:
        events: list[Event] = [Started(str(body.get("id") or ""), ""), ranked(body["results"])]
        usage = read_usage(body)
        return [*events, UsageReported(usage)] if usage else events


cohere_rerank = CohereRerank()
