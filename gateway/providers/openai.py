"""OpenAI, and servers that speak its formats."""

from __future__ import annotations

from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.providers.base import Provider


class OpenAI(Provider):
    kind = "openai"
    paths = {openai_chat: "/chat/completions", openai_embeddings: "/embeddings"}


class OpenAICompatible(OpenAI):
    """Any server that speaks OpenAI's formats: a row in the admin, no code."""

    kind = "openai_compatible"


class VLLM(OpenAI):
    kind = "vllm"


class Ollama(OpenAI):
    kind = "ollama"
