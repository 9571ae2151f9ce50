"""What the built-in upstream answers where documents are to be ranked or words to be judged."""

from __future__ import annotations

import re
from typing import Any

_WORD = re.compile(r"\w+")


def ranking(asked: Any) -> dict[str, Any]:
    """Documents in the order of how many of the query's words they have."""
    query = _words_of(asked.get("query"))
    documents = [_words_of(document) for document in asked.get("documents") or ()]
    results = [
        {"index": index, "relevance_score": len(query & words) / max(len(query), 1)}
        for index, words in enumerate(documents)
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    tokens = len(query) * len(documents) + sum(map(len, documents))
    return {
        "model": asked.get("model"),
        "results": results[: asked.get("top_n") or None],
        "usage": {"total_tokens": tokens},
    }


def moderation(asked: Any) -> dict[str, Any]:
    """Nothing is ever flagged."""
    given = asked.get("input")
    texts = given if isinstance(given, list) and isinstance(given[0], str) else [given]
    result = {"flagged": False, "categories": {}, "category_scores": {}}
    return {"id": "modr-echo", "model": asked.get("model"), "results": [result] * len(texts)}


def _words_of(given: Any) -> set[str]:
    if isinstance(given, dict):
        given = given.get("text")
    return set(_WORD.findall(str(given or "").lower()))
