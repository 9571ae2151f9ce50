"""OpenAI, and servers that speak its formats."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import ClassVar

from gateway.dialects.anthropic_messages import anthropic_messages
from gateway.dialects.base import Dialect, UpstreamDialect, items
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.dialects.openai_images import openai_images
from gateway.dialects.openai_moderations import openai_moderations
from gateway.dialects.openai_responses import openai_responses
from gateway.dialects.openai_speech import openai_speech
from gateway.dialects.rerank import rerank
from gateway.providers.base import Addressee, Provider

#: Models that OpenAI serves by Responses only: clients of chat completions are translated.
_RESPONSES_ONLY = re.compile(r"codex|deep-research|computer-use|\bo\d-pro|gpt-[\d.]+-pro")


class OpenAI(Provider):
    kind = "openai"
    batch_limits = {"embeddings": 2048}
    paths = {
        openai_chat: "/chat/completions",
        openai_responses: "/responses",
        openai_embeddings: "/embeddings",
        openai_moderations: "/moderations",
        openai_images: "/images/generations",
        openai_speech: "/audio/speech",
    }
    keeps_answers = True
    #: Formats that only some servers of this kind speak: those whose row names them in its
    #: option "speaks".
    optional: ClassVar[Collection[UpstreamDialect]] = ()

    def dialect_for(self, client: Dialect, target: Addressee) -> UpstreamDialect | None:
        speaks_always = openai_responses not in self.optional
        if client.task == openai_responses.task and speaks_always and _is_responses_only(target):
            return openai_responses
        return super().dialect_for(client, target)

    def speaks(self, dialect: UpstreamDialect, target: Addressee) -> bool:
        return dialect not in self.optional or dialect.name in items(target.options.get("speaks"))


class OpenAICompatible(OpenAI):
    """Any server that speaks OpenAI's formats: a row in the admin, no code."""

    kind = "openai_compatible"
    paths = {**OpenAI.paths, anthropic_messages: "/messages", rerank: "/rerank"}
    batch_limits = {}
    optional = (openai_responses, anthropic_messages)
    keeps_answers = False


class VLLM(OpenAICompatible):
    kind = "vllm"


class Ollama(OpenAICompatible):
    kind = "ollama"


def _is_responses_only(target: Addressee) -> bool:
    return _RESPONSES_ONLY.search(target.upstream_model) is not None
