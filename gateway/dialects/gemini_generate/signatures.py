"""Signatures of other vendors' thoughts where Google's clients keep them: they must be base64."""

from __future__ import annotations

import base64
import binascii

from gateway.canonical import Thinking

_WRAPPED = b"courier."
_SIGNED, _REDACTED = b"s.", b"r."

#: What Google takes for a function call that none of its models has made
#: (ai.google.dev/gemini-api/docs/thought-signatures, "FAQs").
SKIPS_VALIDATION = "skip_thought_signature_validator"
#: The same bytes in the standard alphabet of base64, which clients other than Python's insist on.
UNSIGNED_CALL = SKIPS_VALIDATION.replace("_", "/")


def wrapped(signature: str) -> str:
    """Another vendor's signature for a client of Google's."""
    return _encoded(_SIGNED, signature)


def wrapped_redacted(data: str) -> str:
    """Another vendor's hidden thoughts for a client of Google's."""
    return _encoded(_REDACTED, data)


def thinking_of(text: str, signature: object) -> Thinking:
    """A thought that a client of Google's gives back, with what only its maker can read."""
    given = _decoded(signature)
    if given.startswith(_REDACTED):
        return Thinking("", redacted=given[len(_REDACTED) :].decode(errors="replace"))
    return Thinking(text, given[len(_SIGNED) :].decode(errors="replace"))


def _encoded(kind: bytes, signature: str) -> str:
    return base64.b64encode(_WRAPPED + kind + signature.encode()).decode()


def _decoded(signature: object) -> bytes:
    """What is wrapped in a signature; empty for one of Google's own."""
    if not isinstance(signature, str):
        return b""
    try:
        # Google's Python client writes what it was given with the URL's alphabet.
        inside = base64.b64decode(signature.replace("-", "+").replace("_", "/"))
    except (binascii.Error, ValueError):
        return b""
    return inside.removeprefix(_WRAPPED) if inside.startswith(_WRAPPED) else b""
