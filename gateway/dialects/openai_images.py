"""OpenAI's images (platform.openai.com/docs/api-reference/images)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.dialects.base import BodyWatch, Json, integer
from gateway.dialects.openai_media import JsonWatch, OpenAIMedia
from lib import tokenizer
from lib.tokens import TokenUsage

#: Output tokens of one image by quality, of a square one and of any other at most; 100 more
#: for each partial one. ("Image generation", platform.openai.com/docs/guides)
_TOKENS = {"low": (272, 408), "medium": (1056, 1584), "high": (4160, 6240)}
TOKENS_PER_PARTIAL_IMAGE = 100
MOST_PARTIAL_IMAGES = 3
#: More than any vendor makes at once.
MOST_IMAGES = 128


class OpenAIImages(OpenAIMedia):
    """Images made from words, and where they are changed, from other images."""

    operation = "images"
    answer_types = ("application/json",)

    def __init__(self, name: str, task: str) -> None:
        self.name = name  # type: ignore[misc]  # one class for formats that answer alike
        self.task = task  # type: ignore[misc]

    def body_watch(self, media_type: str) -> BodyWatch:
        return JsonWatch(self)

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("data"), list)

    def usage_in(self, body: Json) -> TokenUsage | None:
        """The tokens where they are told, and the images in any case: each may have a price."""
        return replace(super().usage_in(body) or TokenUsage(), images=len(body["data"]))

    def usage_in_event(self, event: Json) -> TokenUsage | None:
        if not str(event.get("type")).endswith(".completed"):
            return None
        return replace(super().usage_in(event) or TokenUsage(), images=1)

    def text_in(self, body: Json) -> str:
        return ""

    def input_text(self, body: Json) -> str:
        prompt = body.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    def images_asked(self, body: Json) -> int:
        return min(max(integer(body.get("n")), 1), MOST_IMAGES)

    def usual_output(self, body: Json, each: int) -> int:
        """The most that the images asked for can take: what `auto` means is not told."""
        return _tokens_of_one(body, otherwise="high") * self.images_asked(body)

    def counted(self, body: Json, said: str, model: str) -> TokenUsage:
        """Of an answer that did not come to its end: what was asked for is what was made."""
        images = self.images_asked(body)
        return TokenUsage(
            input_tokens=tokenizer.count(self.input_text(body), model),
            output_tokens=_tokens_of_one(body, otherwise="medium") * images,
            images=images,
        )


def _tokens_of_one(body: Json, *, otherwise: str) -> int:
    """Output tokens of one image; of quality `otherwise` where the request does not say."""
    square, other = _TOKENS.get(str(body.get("quality")), _TOKENS[otherwise])
    width, _, height = str(body.get("size")).partition("x")
    partial = min(integer(body.get("partial_images")), MOST_PARTIAL_IMAGES)
    return (square if width == height else other) + partial * TOKENS_PER_PARTIAL_IMAGE


openai_images = OpenAIImages("openai-images", "image_generation")
openai_image_edits = OpenAIImages("openai-image-edits", "image_edit")
openai_image_variations = OpenAIImages("openai-image-variations", "image_variation")
