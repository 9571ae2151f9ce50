"""OpenAI's embeddings (platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

from typing import Any

from gateway.dialects.base import Json, StreamWatch
from gateway.dialects.openai import CHARACTERS_PER_TOKEN, OpenAIDialect


class OpenAIEmbeddings(OpenAIDialect):
    """Embeddings. One format, passed through and never streamed."""

    name = "openai-embeddings"
    operation = "embeddings"

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("data"), list)

    def text_in(self, body: Json) -> str:
        return ""

    def watch(self, request: Json) -> StreamWatch:
        raise TypeError("Embeddings are never streamed.")

    def input_text(self, body: Json) -> str:
        given = body["input"]
        if isinstance(given, str):
            return given
        return "\n".join(item for item in given if isinstance(item, str))

    def input_estimate(self, body: Json) -> int:
        return _tokens_given(body["input"]) + len(self.input_text(body)) // CHARACTERS_PER_TOKEN + 1

    def output_bound(self, body: Json) -> int:
        return 0


def _tokens_given(given: Any) -> int:
    """How many tokens the client counted out itself: integers, or lists of them."""
    if not isinstance(given, list):
        return 0
    return sum(len(item) if isinstance(item, list) else isinstance(item, int) for item in given)


openai_embeddings = OpenAIEmbeddings()
