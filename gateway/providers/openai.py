"""OpenAI, and servers that speak its formats."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from gateway.dialects.base import UpstreamDialect, items
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.dialects.openai_images import openai_images
from gateway.dialects.openai_speech import openai_speech
from gateway.providers.base import Addressee, Provider


class OpenAI(Provider):
    kind = "openai"
    batch_limits = {"embeddings": 2048}
    paths = {
        openai_chat: "/chat/completions",
        openai_embeddings: "/embeddings",
        openai_images: "/images/generations",
        openai_speech: "/audio/speech",
    }
    #: Formats that only some servers of this kind speak: those whose row names them in its
    #: option "speaks".
    optional: ClassVar[Collection[UpstreamDialect]] = ()

    def speaks(self, dialect: UpstreamDialect, target: Addressee) -> bool:
        return dialect not in self.optional or dialect.name in items(target.options.get("speaks"))


class OpenAICompatible(OpenAI):
    """Any server that speaks OpenAI's formats: a row in the admin, no code."""

    kind = "openai_compatible"
    batch_limits = {}


class VLLM(OpenAI):
    kind = "vllm"
    batch_limits = {}


class Ollama(OpenAI):
    kind = "ollama"
    batch_limits = {}
