"""OpenAI, and servers that speak its formats."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import ClassVar

from gateway.dialects.anthropic_messages import anthropic_messages
from gateway.dialects.base import Dialect, Drops, Json, UpstreamDialect, items
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_completions import completes, openai_completions
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.dialects.openai_images import (
    openai_image_edits,
    openai_image_variations,
    openai_images,
)
from gateway.dialects.openai_moderations import openai_moderations
from gateway.dialects.openai_responses import openai_responses
from gateway.dialects.openai_speech import openai_speech
from gateway.dialects.openai_transcriptions import openai_transcriptions, openai_translations
from gateway.dialects.rerank import rerank
from gateway.providers.base import Addressee, Provider, Quirk

#: Models that OpenAI serves by Responses only: clients of chat completions are translated.
_RESPONSES_ONLY = re.compile(r"codex|deep-research|computer-use|\bo\d-pro|gpt-[\d.]+-pro")


def without_top_k(body: Json, drops: Drops) -> None:
    """OpenAI has no such field, and many servers of its format refuse what they do not know."""
    if body.pop("top_k", None) is not None:
        drops.note("top_k")


def bounded_with_thoughts(body: Json, drops: Drops) -> None:
    """Models that reason refuse the old name of the bound, and OpenAI's others take both."""
    if "messages" in body and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")


def without_thoughts(body: Json, drops: Drops) -> None:
    """OpenAI takes no thoughts back in this format, and refuses the field."""
    for message in items(body.get("messages")):
        message.pop("reasoning_content", None)


class OpenAI(Provider):
    kind = "openai"
    batch_limits = {"embeddings": 2048}
    paths = {
        openai_chat: "/chat/completions",
        openai_completions: "/completions",
        openai_responses: "/responses",
        openai_embeddings: "/embeddings",
        openai_moderations: "/moderations",
        openai_images: "/images/generations",
        openai_image_edits: "/images/edits",
        openai_image_variations: "/images/variations",
        openai_speech: "/audio/speech",
        openai_transcriptions: "/audio/transcriptions",
        openai_translations: "/audio/translations",
    }
    keeps_answers = True
    translated_quirks: ClassVar[Sequence[Quirk]] = (
        without_top_k,
        bounded_with_thoughts,
        without_thoughts,
    )
    #: Formats that only some servers of this kind speak: those whose row names them in its
    #: option "speaks".
    optional: ClassVar[Collection[UpstreamDialect]] = ()

    def dialect_for(self, client: Dialect, target: Addressee) -> UpstreamDialect | None:
        speaks_always = openai_responses not in self.optional
        if client.task == openai_responses.task and speaks_always and _is_responses_only(target):
            return openai_responses
        return super().dialect_for(client, target)

    def speaks(self, dialect: UpstreamDialect, target: Addressee) -> bool:
        if dialect is openai_completions:
            return self.completes(target)
        return dialect not in self.optional or dialect.name in items(target.options.get("speaks"))

    def completes(self, target: Addressee) -> bool:
        """Whether the model goes on with a prompt. OpenAI's newer ones only talk."""
        return completes(target.upstream_model)


class OpenAICompatible(OpenAI):
    """Any server that speaks OpenAI's formats: a row in the admin, no code."""

    kind = "openai_compatible"
    paths = {**OpenAI.paths, anthropic_messages: "/messages", rerank: "/rerank"}
    batch_limits = {}
    optional = (openai_responses, anthropic_messages)
    keeps_answers = False
    translated_quirks: ClassVar[Sequence[Quirk]] = (without_top_k,)

    def completes(self, target: Addressee) -> bool:
        return True


class VLLM(OpenAICompatible):
    kind = "vllm"
    translated_quirks: ClassVar[Sequence[Quirk]] = ()


class Ollama(OpenAICompatible):
    kind = "ollama"


def _is_responses_only(target: Addressee) -> bool:
    return _RESPONSES_ONLY.search(target.upstream_model) is not None
