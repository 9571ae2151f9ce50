"""Cohere: its own formats for vectors and rankings, and OpenAI's for chat."""

from __future__ import annotations

from gateway.dialects.cohere_embeddings import cohere_embeddings
from gateway.dialects.cohere_rerank import cohere_rerank
from gateway.dialects.openai_chat import openai_chat
from gateway.providers.base import Provider


class Cohere(Provider):
    kind = "cohere"
    paths = {
        openai_chat: "/compatibility/v1/chat/completions",
        cohere_embeddings: "/v2/embed",
        cohere_rerank: "/v2/rerank",
    }
    batch_limits = {"embeddings": 96}
