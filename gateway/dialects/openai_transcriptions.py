"""OpenAI's transcriptions and translations (platform.openai.com/docs/api-reference/audio)."""

from __future__ import annotations

from typing import Any

import orjson

from gateway import sse
from gateway.dialects.base import BodyWatch, Json, items, mapping
from gateway.dialects.openai_media import MOST_WORDS, JsonWatch, OpenAIMedia, media_usage
from gateway.forms import FormFile
from lib import tokenizer
from lib.tokens import TokenUsage

#: What a minute of sound counts, where a provider charges by the minute: a price of 0.006
#: dollars a minute is one of 6 dollars per million of these tokens.
TOKENS_PER_MINUTE = 1000
#: Bytes of a second of sound as it is usually stored, by the ending of a file's name.
_BYTES_PER_SECOND = {"wav": 32_000, "flac": 20_000, "ogg": 4000, "oga": 4000, "webm": 4000}
_USUAL_BYTES_PER_SECOND = 16_000


class TextWatch(BodyWatch):
    """Looks at a transcript that is plain text, or subtitles."""

    #: Most are smaller, and then another target may still be tried.
    undecided = 64 * 1024

    def __init__(self) -> None:
        super().__init__()
        self._text = bytearray()

    def see(self, piece: bytes) -> None:
        self._text += piece[: MOST_WORDS - len(self._text)]

    def close(self) -> None:
        """Nothing is missing that could be missed: silence has an empty transcript."""

    def seen_text(self) -> str:
        return self._text.decode(errors="replace")


class OpenAITranscriptions(OpenAIMedia):
    """Sound, written down: as JSON, as text or subtitles, or as a stream of events."""

    operation = "transcriptions"
    answer_types = ("application/json", "text/", "application/x-subrip")

    def __init__(self, name: str, task: str) -> None:
        self.name = name  # type: ignore[misc]  # one class for formats that are alike
        self.task = task  # type: ignore[misc]

    def body_watch(self, media_type: str) -> BodyWatch:
        return JsonWatch(self) if media_type == "application/json" else TextWatch()

    def is_answer(self, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("text"), str)

    def usage_in(self, body: Json) -> TokenUsage | None:
        """The tokens that are told, or the length of the sound where that is."""
        usage = mapping(body.get("usage"))
        if usage.get("type") == "duration":
            return _heard(usage.get("seconds"))
        return media_usage(usage) if usage else _heard(body.get("duration"))

    def text_in(self, body: Json) -> str:
        return str(body["text"])

    def text_in_event(self, event: Json) -> str:
        if event.get("type") == "transcript.text.delta":
            return str(event.get("delta") or "")
        # Some servers stream the chunks of chat completions.
        deltas = (mapping(mapping(choice).get("delta")) for choice in items(event.get("choices")))
        return "".join(str(delta.get("content") or "") for delta in deltas)

    def ending(self, said: str, used: TokenUsage) -> bytes:
        usage = {
            "type": "tokens",
            "input_tokens": used.input_tokens,
            "output_tokens": used.output_tokens,
            "total_tokens": used.total_tokens,
        }
        done = {"type": "transcript.text.done", "text": said, "usage": usage}
        return sse.frame_of(orjson.dumps(done))

    def input_text(self, body: Json) -> str:
        prompt = body.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    def input_estimate(self, body: Json) -> int:
        return super().input_estimate(body) + _sound_in(body)

    def counted(self, body: Json, said: str, model: str) -> TokenUsage:
        sound = _sound_in(body)
        return TokenUsage(
            input_tokens=tokenizer.count(self.input_text(body), model) + sound,
            audio_input_tokens=sound,
            output_tokens=tokenizer.count(said, model),
        )


def _heard(seconds: Any) -> TokenUsage | None:
    """What so much sound counts. Its provider charges nothing for the words."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        return None
    tokens = -int(-min(seconds, 10**9) * TOKENS_PER_MINUTE // 60)
    return TokenUsage(input_tokens=tokens, audio_input_tokens=tokens)


def _sound_in(body: Json) -> int:
    """About how many tokens the sound of a request has, by the size of its file."""
    file = body.get("file")
    if not isinstance(file, FormFile):
        return 0
    ending = file.name.rpartition(".")[2].lower()
    a_second = _BYTES_PER_SECOND.get(ending, _USUAL_BYTES_PER_SECOND)
    return max(file.size, file.expected) * TOKENS_PER_MINUTE // (60 * a_second) + 1


openai_transcriptions = OpenAITranscriptions("openai-transcriptions", "transcription")
openai_translations = OpenAITranscriptions("openai-translations", "translation")
