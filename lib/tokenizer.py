"""Offline token counts, for answers whose provider reports none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import bpe_openai

from lib.vocabularies import OLDER, Vocabulary, counts_of, vocabulary_of

#: Text beyond this is counted by its length: counting runs on the event loop (30 MB/s).
MOST_COUNTED = 256 * 1024
CHARACTERS_PER_TOKEN = 4


def load() -> None:
    """Load the vocabularies, so that no request waits for it."""
    for name in ("o200k_base", "cl100k_base"):
        _encoding(name)


def count(text: str, model: str) -> int:
    """Tokens of `text` as `model` would count them: exact for OpenAI's, near it for others."""
    return count_all((text,), model)


def count_all(texts: Iterable[str], model: str) -> int:
    """Tokens of several texts that stand apart. All of them together are bounded as one is."""
    vocabulary = vocabulary_of(model)
    total, left = 0.0, MOST_COUNTED
    for text in texts:
        if text:
            total += _weight(text[:left], vocabulary) + len(text[left:]) / CHARACTERS_PER_TOKEN
            left = max(left - len(text), 0)
    return math.ceil(total - 0.5)


def text_of(tokens: Sequence[int]) -> str:
    """The text of tokens of the older vocabulary. Raises ValueError if they are none of it."""
    try:
        if min(tokens, default=0) < 0:
            raise ValueError("A token is a number from 0 on.")
        text: str = _encoding(OLDER.base).decode(list(tokens))
    except LookupError as error:
        raise ValueError("A token is none of this vocabulary.") from error
    return text


def _weight(text: str, vocabulary: Vocabulary) -> float:
    tokens = len(_encoding(vocabulary.base).encode_ordinary(text))
    if not vocabulary.beside:
        return tokens * vocabulary.factor
    beside = zip(counts_of(text), vocabulary.beside, strict=True)
    weight = tokens * vocabulary.factor + sum(number * each for number, each in beside)
    # No text is so strange that another vocabulary makes next to nothing of it.
    return max(weight, tokens / 2)


@cache
def _encoding(name: str) -> Any:
    return bpe_openai.get_encoding(name)
