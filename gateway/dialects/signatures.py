"""Whose a signature of thoughts is, on its way through formats that are not its maker's.

A vendor refuses a conversation with a signature that it has not made. In the hub a signature
without a mark is of the format that keeps thoughts among what is said, Anthropic's; all others
carry their maker's name, and so does what a client keeps in a format that is not the maker's.
"""

from __future__ import annotations

from typing import Any

from gateway.canonical import Json, opened_id
from gateway.dialects.drops import Drops
from gateway.dialects.json_values import items, mapping

ANTHROPIC, GOOGLE, OPENAI = "anthropic", "google", "openai"
#: What every mark begins with. No signature does: they are base64.
_MARK = "courier."
#: Stands where a format wants a signature, and there is none.
UNSIGNED = f"{_MARK}unsigned"
#: The mark in base64, as Google's clients keep it: see `gemini_signatures`.
_WRAPPED = "Y291cmllci5"
#: What a body holds that has something to be cleared of.
_SIGNS = (b'"courier.', b"__sig__", f'"{_WRAPPED}'.encode())
_CONVERSATIONS = ("messages", "input", "contents")
_IDS = frozenset({"id", "call_id", "tool_call_id", "tool_use_id"})
_SIGNATURES = ("signature", "data", "encrypted_content", "thoughtSignature", "thought_signature")
#: What is the tools' own, and none of it a part of the format.
_OPAQUE = frozenset({"input", "args", "arguments", "response", "output"})


def marked(maker: str, signature: str) -> str:
    """A signature with its maker's name."""
    return f"{_MARK}{maker}.{signature}"


def unmarked(maker: str, signature: str) -> str:
    """The signature that `marked` named this maker of; empty if it is of another."""
    mark = f"{_MARK}{maker}."
    return signature.removeprefix(mark) if signature.startswith(mark) else ""


def bare(signature: str) -> str:
    """A signature without a mark; empty if it has one, and so is of another maker."""
    return "" if signature.startswith(_MARK) else signature


def named(signature: str) -> str:
    """A signature of the hub's for a client whose format is not Anthropic's."""
    return marked(ANTHROPIC, signature) if bare(signature) else signature


def given_back(signature: str) -> str:
    """A signature as the hub has it, of what a client gives back."""
    return "" if signature == UNSIGNED else unmarked(ANTHROPIC, signature) or signature


def cleared(raw: bytes, body: Json, drops: Drops) -> Json:
    """`body` as if its conversation had been with a vendor of the client's own format.

    It is the very same where it has: that is seen from `raw`, for most bodies are large.
    """
    if not any(sign in raw for sign in _SIGNS):
        return body
    told = {name: _cleared(body[name]) for name in _CONVERSATIONS if name in body}
    if all(told[name] == body[name] for name in told):
        return body
    new = {**body, **told}
    if _cannot_think_on(new):
        drops.note_own("thinking")
        del new["thinking"]
    return new


def _cannot_think_on(body: Json) -> bool:
    """Whether Anthropic would refuse to let its model think: in the midst of another's calls."""
    turns = [items(mapping(turn).get("content")) for turn in items(body.get("messages"))[-2:]]
    if mapping(body.get("thinking")).get("type") not in {"enabled", "adaptive"} or len(turns) < 2:
        return False
    (first, *_), (last, *_) = ([*map(mapping, turn), {}] for turn in turns)
    thoughts = {"thinking", "redacted_thinking"}
    return last.get("type") == "tool_result" and first.get("type") not in thoughts


def _cleared(value: Any) -> Any:
    if isinstance(value, list):
        kept = ((each, _cleared(each)) for each in value if not _is_foreign(each))
        return [new for old, new in kept if not _is_emptied(old, new)]
    if isinstance(value, dict):
        return {name: _field(name, inner) for name, inner in value.items()}
    return value


def _field(name: str, value: Any) -> Any:
    if name in _IDS and isinstance(value, str):
        return opened_id(value)[0]
    return value if name in _OPAQUE else _cleared(value)


def _is_foreign(each: Any) -> bool:
    if not isinstance(each, dict):
        return False
    told = (each.get(name) for name in _SIGNATURES)
    return any(isinstance(each, str) and each.startswith((_MARK, _WRAPPED)) for each in told)


def _is_emptied(old: Any, new: Any) -> bool:
    """Whether a turn said nothing but what is gone."""
    if not isinstance(old, dict):
        return False
    return any(old.get(name) and not new[name] for name in ("content", "parts"))
