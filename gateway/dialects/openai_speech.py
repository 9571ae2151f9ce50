"""OpenAI's speech (platform.openai.com/docs/api-reference/audio/createSpeech)."""

from __future__ import annotations

from typing import Any

from gateway.dialects.base import BodyWatch, Json
from gateway.dialects.openai_media import OpenAIMedia, media_usage
from lib import tokenizer
from lib.tokens import TokenUsage

#: How fast text is spoken, and how many tokens a minute of sound has.
CHARACTERS_PER_MINUTE = 900
AUDIO_TOKENS_PER_MINUTE = 1250
#: Tokens that are held beyond that: sound tells nothing while it passes, so that a hold which is
#: too small is never found out.
SLACK = 512


class SoundWatch(BodyWatch):
    """Looks at sound as it passes. It says nothing of itself, but there must be some."""

    def __init__(self) -> None:
        super().__init__()
        self._has_begun = False

    def see(self, piece: bytes) -> None:
        self._has_begun = True

    def close(self) -> None:
        if not self._has_begun:
            raise ValueError("There is no sound.")


class OpenAISpeech(OpenAIMedia):
    """Words, spoken: sound as it comes, or as a stream of events."""

    name = "openai-speech"
    task = operation = "speech"
    answer_types = ("audio/", "application/octet-stream", "binary/octet-stream")

    def body_watch(self, media_type: str) -> BodyWatch:
        return SoundWatch()

    def is_answer(self, body: Any) -> bool:
        return False

    def usage_in(self, body: Json) -> TokenUsage | None:
        usage = media_usage(body.get("usage"))
        if usage is None:
            return None
        return TokenUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            audio_output_tokens=usage.output_tokens,
        )

    def text_in(self, body: Json) -> str:
        return ""

    def input_text(self, body: Json) -> str:
        given = (body.get("input"), body.get("instructions"))
        return "\n".join(text for text in given if isinstance(text, str))

    def usual_output(self, body: Json, each: int) -> int:
        return _spoken(body) * 3 // 2 + SLACK

    def counted(self, body: Json, said: str, model: str) -> TokenUsage:
        tokens = _spoken(body)
        return TokenUsage(
            input_tokens=tokenizer.count(self.input_text(body), model),
            output_tokens=tokens,
            audio_output_tokens=tokens,
        )


def _spoken(body: Json) -> int:
    """About how many tokens of sound the input makes."""
    return -(-len(body["input"]) * AUDIO_TOKENS_PER_MINUTE // CHARACTERS_PER_MINUTE)


openai_speech = OpenAISpeech()
