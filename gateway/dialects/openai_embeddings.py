"""OpenAI's embeddings (platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson

from gateway.dialects.base import Json, StreamWatch, mapping
from gateway.dialects.openai import CHARACTERS_PER_TOKEN, OpenAIDialect, length_of


class OpenAIEmbeddings(OpenAIDialect):
    """Embeddings. One format, passed through and never streamed."""

    name = "openai-embeddings"
    task = operation = "embeddings"

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("data"), list)

    def text_in(self, body: Json) -> str:
        return ""

    def watch(self, request: Json) -> StreamWatch:
        raise TypeError("Embeddings are never streamed.")

    def content_for(self, request: Json, content: bytes, body: Json) -> bytes:
        """Embeddings in base64 where the client wants that and the provider gave numbers."""
        wants_base64 = request.get("encoding_format") == "base64"
        if not (wants_base64 and any(map(_has_numbers, body["data"]))):
            return content
        return orjson.dumps({**body, "data": [_in_base64(item) for item in body["data"]]})

    def input_text(self, body: Json) -> str:
        given = body["input"]
        if isinstance(given, str):
            return given
        return "\n".join(item for item in given if isinstance(item, str))

    def input_estimate(self, body: Json) -> int:
        return (
            _tokens_given(body["input"])
            + length_of(self.input_text(body)) // CHARACTERS_PER_TOKEN
            + 1
        )

    def output_bound(self, body: Json) -> int:
        return 0

    def answers_asked(self, body: Json) -> int:
        return 0


def _has_numbers(item: Any) -> bool:
    return isinstance(mapping(item).get("embedding"), list)


def _in_base64(item: Json) -> Json:
    """The item with its vector as little-endian float32, as OpenAI encodes it."""
    if not _has_numbers(item):
        return item
    numbers = item["embedding"]
    try:
        packed = struct.pack(f"<{len(numbers)}f", *numbers)
    except (struct.error, OverflowError):
        return item  # not numbers, or none that float32 holds: the provider's own to explain
    return {**item, "embedding": base64.b64encode(packed).decode()}


def _tokens_given(given: Any) -> int:
    """How many tokens the client counted out itself: integers, or lists of them."""
    if not isinstance(given, list):
        return 0
    return sum(len(item) if isinstance(item, list) else isinstance(item, int) for item in given)


openai_embeddings = OpenAIEmbeddings()
