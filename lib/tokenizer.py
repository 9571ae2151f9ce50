"""Offline token counts, for answers whose provider reports none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import bpe_openai

#: Models of OpenAI's first vocabulary; all later ones, and most others, are nearer the second.
_OLDER = ("gpt-4-", "gpt-3.5", "text-embedding-", "gpt-35")
#: Text beyond this is counted by its length: counting runs on the event loop (30 MB/s).
MOST_COUNTED = 256 * 1024
CHARACTERS_PER_TOKEN = 4


def load() -> None:
    """Load the vocabularies, so that no request waits for it."""
    for name in ("o200k_base", "cl100k_base"):
        _encoding(name)


def count(text: str, model: str) -> int:
    """Tokens of `text` as `model` would count them, or near it for a model of another maker."""
    if not text:
        return 0
    counted, beyond = text[:MOST_COUNTED], max(len(text) - MOST_COUNTED, 0)
    encoding = _encoding(_vocabulary_of(model))
    return len(encoding.encode_ordinary(counted)) + beyond // CHARACTERS_PER_TOKEN


def text_of(tokens: Sequence[int]) -> str:
    """The text of tokens of the older vocabulary. Raises ValueError if they are none of it."""
    try:
        if min(tokens, default=0) < 0:
            raise ValueError("A token is a number from 0 on.")
        text: str = _encoding("cl100k_base").decode(list(tokens))
    except LookupError as error:
        raise ValueError("A token is none of this vocabulary.") from error
    return text


def count_all(texts: Iterable[str], model: str) -> int:
    """Tokens of several texts that stand apart. All of them together are bounded as one is."""
    total, left = 0, MOST_COUNTED
    for text in texts:
        total += count(text[:left], model) + len(text[left:]) // CHARACTERS_PER_TOKEN
        left = max(left - len(text), 0)
    return total


def _vocabulary_of(model: str) -> str:
    name = model.rpartition("/")[2]
    return "cl100k_base" if name == "gpt-4" or name.startswith(_OLDER) else "o200k_base"


@cache
def _encoding(name: str) -> Any:
    return bpe_openai.get_encoding(name)
