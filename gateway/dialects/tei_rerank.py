"""Reranking by Text Embeddings Inference (huggingface.github.io/text-embeddings-inference)."""

from __future__ import annotations

from typing import Any

from gateway.canonical import Event, RerankRequest
from gateway.dialects.base import Destination, Drops, Json, UpstreamHalf
from gateway.dialects.rerank import ranked


class TEIRerank(UpstreamHalf[RerankRequest]):
    """One model per server, so that none is named; a bare list comes back, without usage."""

    name = "tei-rerank"
    task = "rerank"

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, list)

    def write_request(self, request: RerankRequest, to: Destination, drops: Drops) -> Json:
        if request.max_tokens_per_document is not None:
            drops.note("max_tokens_per_doc")
        return {"query": request.query, "texts": request.documents, "truncate": True}

    def read_response(self, body: Json) -> list[Event]:
        return [ranked(body, "score")]


tei_rerank = TEIRerank()
