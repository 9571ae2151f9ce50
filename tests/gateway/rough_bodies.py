"""Requests that hold something of everything, by client format, and ways to spoil JSON."""

import copy
import json
import random
from pathlib import Path

from hypothesis import strategies as st

from gateway.dialects.anthropic_messages import anthropic_messages
from gateway.dialects.gemini_embed import gemini_embed, gemini_embed_one
from gateway.dialects.gemini_generate import gemini_generate
from gateway.dialects.openai_chat import openai_chat
from gateway.dialects.openai_completions import openai_completions
from gateway.dialects.openai_embeddings import openai_embeddings
from gateway.dialects.openai_images import openai_images
from gateway.dialects.openai_moderations import openai_moderations
from gateway.dialects.openai_responses import openai_responses
from gateway.dialects.openai_speech import openai_speech
from gateway.dialects.rerank import rerank
from gateway.schemas.chat import ChatCompletionIn
from gateway.schemas.completions import CompletionIn
from gateway.schemas.embeddings import EmbeddingsIn
from gateway.schemas.generate_content import (
    BatchEmbedContentsIn,
    EmbedContentIn,
    GenerateContentIn,
)
from gateway.schemas.images import ImagesIn
from gateway.schemas.messages import MessageIn
from gateway.schemas.moderations import ModerationsIn
from gateway.schemas.rerank import RerankIn
from gateway.schemas.responses import ResponseIn
from gateway.schemas.speech import SpeechIn

_BODIES = json.loads((Path(__file__).parent / "rough_requests.json").read_text())
_SCHEMAS = {
    openai_chat: ChatCompletionIn,
    openai_completions: CompletionIn,
    openai_responses: ResponseIn,
    anthropic_messages: MessageIn,
    gemini_generate: GenerateContentIn,
    openai_embeddings: EmbeddingsIn,
    gemini_embed_one: EmbedContentIn,
    gemini_embed: BatchEmbedContentsIn,
    rerank: RerankIn,
    openai_moderations: ModerationsIn,
    openai_images: ImagesIn,
    openai_speech: SpeechIn,
}
#: By format, what Courier reads of a request, and one that says all that can be said.
REQUESTS = {dialect: (schema, _BODIES[dialect.name]) for dialect, schema in _SCHEMAS.items()}


def nested(levels):
    """Lists in objects in lists."""
    value = 0
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


NUMBERS = (0, 1, -1, 1.5, -2.5, 10**12, 2**64 - 1, 1e300, -1e300)
WORDS = ("", "x", "8", "\0", "é漢", "auto", "none", "data:;base64,!", "http://[::1", '{"a":')
OBJECTS = ({}, {"type": "text"}, {"type": None}, {"type": ["x"]}, {"text": 1}, {"a": {"b": [1]}})
LISTS = ([], [None], [[]], [1], ["x"], [{}], [{"a": []}])
VALUES = (None, True, False, *NUMBERS, *WORDS, *OBJECTS, *LISTS, nested(90), "[" * 200 + "]" * 200)
SEEDS = st.integers(0, 2**64)


def spoilt(value, seed):
    """`value` with one to three of its places changed."""
    chance = random.Random(seed)
    changed = {"": copy.deepcopy(value)}
    for _ in range(chance.choice((1, 1, 2, 3))):
        _spoil(changed, chance)
    return changed[""]


def _spoil(changed, chance):
    parent, place = chance.choice(list(_places(changed)))
    how = chance.random()
    if how < 0.15 and parent is not changed:
        del parent[place]
    elif how < 0.3 and isinstance(parent, list):
        parent.insert(place, copy.deepcopy(chance.choice(VALUES)))
    else:
        parent[place] = copy.deepcopy(chance.choice(VALUES))


def _places(value):
    within = value.items() if isinstance(value, dict) else enumerate(value)
    for place, inner in within:
        yield value, place
        if isinstance(inner, dict | list):
            yield from _places(inner)
