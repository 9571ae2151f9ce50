"""What differs between two exports, in words: a sentence for each thing that was changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

#: What tells the entries of a list from one another. Without these keys, it is the name.
IDENTITIES = {
    "routes": ("provider", "upstream_model"),
    "prices": ("from", "route"),
    "budgets": ("period", "window"),
}
SECRETS = frozenset({"secret", "if_unset"})
Block = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that was added, changed or taken away."""

    #: Such as "model gpt-4o".
    thing: str
    words: str


def differences(before: str, after: str) -> list[Difference]:
    """What one has to do to come from one export to another."""
    old, new = _things(before), _things(after)
    found = [Difference(thing, f"delete {thing}") for thing in old if thing not in new]
    for thing, block in new.items():
        if thing not in old:
            found.append(Difference(thing, f"add {thing}"))
        elif old[thing] != block:
            words = "; ".join(_changes(old[thing], block))
            found.append(Difference(thing, f"change {thing}: {words}"))
    return found


def unified(before: str, after: str, names: tuple[str, str]) -> str:
    """The same as a unified diff."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="")
    return "\n".join(lines)


def _things(manifest: str) -> dict[str, Block]:
    """The entries of all sections by what they are called."""
    root = yaml.safe_load(manifest) if manifest else {}
    return {
        _called(section, block): block
        for section, blocks in root.items()
        if isinstance(blocks, list)
        for block in blocks
    }


def _called(section: str, block: Block) -> str:
    of_team = f" of {block['team']}" if section == "keys" else ""
    return f"{_singular(section)} {block['name']}{of_team}"


def _singular(section: str) -> str:
    return f"{section[:-3]}y" if section.endswith("ies") else section.removesuffix("s")


def _changes(old: Block, new: Block) -> Iterator[str]:
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in SECRETS:
            yield from _change(name, old.get(name), new.get(name))


def _change(name: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    if _is_list_of_blocks(old) or _is_list_of_blocks(new):
        yield from _list_changes(name, old or [], new or [])
    elif name == "enabled":
        yield "switched off" if new is False else "switched on"
    elif isinstance(old, Mapping) or isinstance(new, Mapping):
        for words in _changes(old or {}, new or {}):
            yield f"{name} {words}"
    else:
        yield f"{name} {_word(old)} → {_word(new)}"


def _list_changes(name: str, old: list[Block], new: list[Block]) -> Iterator[str]:
    noun = _singular(name)
    before = {_identity(name, block): block for block in old}
    after = {_identity(name, block): block for block in new}
    for identity in before:
        if identity not in after:
            yield f"delete {noun} {identity}"
    for identity, block in after.items():
        if identity not in before:
            yield f"add {noun} {identity}"
        elif before[identity] != block:
            words = ", ".join(_changes(before[identity], block))
            yield f"{noun} {identity}: {words}"


def _identity(name: str, block: Block) -> str:
    parts = [block.get(key) for key in IDENTITIES.get(name, ("name",))]
    return " / ".join(_word(part) for part in parts if part is not None)


def _is_list_of_blocks(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _word(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case Mapping():
            return " / ".join(_word(each) for each in value.values())
        case list():
            return ", ".join(_word(each) for each in value) or "none"
    return str(value)
