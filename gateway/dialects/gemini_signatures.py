"""Signatures of thoughts on their way through formats that are not their maker's.

A vendor refuses a conversation with a signature that is not its own. Thus Google's are marked
where they leave for other formats, and others' are wrapped where Google's clients keep them,
who hold a thoughtSignature to be base64.
"""

from __future__ import annotations

import base64
import binascii

from gateway.canonical import Thinking

#: Before a signature of Google's, in the formats of others.
_GOOGLES = "google."
_WRAPPED = b"courier."
_SIGNED, _REDACTED = b"s.", b"r."

#: What Google takes for a function call that none of its models has made
#: (ai.google.dev/gemini-api/docs/thought-signatures, "FAQs").
SKIPS_VALIDATION = "skip_thought_signature_validator"


def marked(signature: str) -> str:
    """A signature of Google's for a client of another format."""
    return _GOOGLES + signature


def unmarked(signature: str) -> str:
    """The signature of Google's that `marked` made; empty for one of another vendor's."""
    return signature.removeprefix(_GOOGLES) if signature.startswith(_GOOGLES) else ""


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
