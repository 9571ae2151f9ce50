"""OpenAI's moderations (platform.openai.com/docs/api-reference/moderations)."""

from __future__ import annotations

from typing import Any

from gateway.dialects.base import Json, StreamWatch
from gateway.dialects.openai import (
    CHARACTERS_PER_TOKEN,
    TOKENS_PER_IMAGE,
    OpenAIDialect,
    images_in,
    length_of,
    text_of,
)

#: What is asked where a client names no model, as OpenAI does.
USUAL_MODEL = "omni-moderation-latest"


class OpenAIModerations(OpenAIDialect):
    """Judgments on texts and images. One format, passed through and never streamed."""

    name = "openai-moderations"
    task = operation = "moderations"

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("results"), list)

    def text_in(self, body: Json) -> str:
        return ""

    def watch(self, request: Json) -> StreamWatch:
        raise TypeError("Moderations are never streamed.")

    def input_text(self, body: Json) -> str:
        given = body["input"]
        if isinstance(given, list) and all(isinstance(text, str) for text in given):
            return "\n".join(given)
        return text_of(given)

    def input_estimate(self, body: Json) -> int:
        words = length_of(self.input_text(body)) // CHARACTERS_PER_TOKEN
        return words + images_in(body["input"]) * TOKENS_PER_IMAGE + 1

    def output_bound(self, body: Json) -> int:
        return 0

    def answers_asked(self, body: Json) -> int:
        return 0


openai_moderations = OpenAIModerations()
