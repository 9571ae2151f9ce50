"""Which session a request belongs to, so that its provider's prompt cache is met again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.strategies import session_number

#: Where clients name what they would have cached together, in the order of preference.
MARKS = ("prompt_cache_key", "session_id", "safety_identifier", "user")
IN_METADATA = ("session_id", "user_id")
#: What a conversation begins with, in the formats that there are.
OPENINGS = ("system", "instructions", "systemInstruction")
TURNS = ("messages", "input", "contents")


def session_of(named: str, body: Mapping[str, Any]) -> int | None:
    """A number for the session: what the client names, else how the conversation begins."""
    if not body:
        return session_number(named) if named else None
    return session_number(named or next(_marks(body), "") or _opening(body))


def _marks(body: Mapping[str, Any]) -> Iterator[str]:
    metadata = body.get("metadata")
    told = metadata if isinstance(metadata, Mapping) else {}
    marks = [*(body.get(name) for name in MARKS), *(told.get(name) for name in IN_METADATA)]
    return (mark for mark in marks if isinstance(mark, str) and mark)


def _opening(body: Mapping[str, Any]) -> str:
    """The conversation's first words: all that its later requests have in common with it."""
    said = [body.get(name) for name in OPENINGS]
    for name in TURNS:
        turns = body.get(name)
        said += turns[:2] if isinstance(turns, list) else [turns]
    return orjson.dumps(said).decode()
