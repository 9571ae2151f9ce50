"""Text Embeddings Inference, a server of vectors and rankings."""

from __future__ import annotations

from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.dialects.tei_rerank import tei_rerank
from gateway.providers.base import Provider


class TEI(Provider):
    kind = "tei"
    paths = {openai_embeddings: "/v1/embeddings", tei_rerank: "/rerank"}
    # The server's own default (--max-client-batch-size). Its models score each document alone.
    batch_limits = {"embeddings": 32, "rerank": 32}
