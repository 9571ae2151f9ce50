"""JSON with placeholders, such as {"model": "{{model}}"}. They are replaced; nothing is evaluated.

A placeholder that is all of a string becomes the value itself; one inside a string becomes a
part of its text. What has no value is left out, and so is an object or a list that has nothing
left in it. A name that ends in a question mark is left out, with all that is in it, unless
every placeholder in it has a value: {"format?": {"type": "json", "schema": "{{schema}}"}}.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

DEEPEST = 20
#: Strings with one of these in them are no placeholders that were mistyped.
_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
_BRACES = re.compile(r"\{\{|\}\}")


class Nothing:
    """What is left of a template whose placeholders have no value."""


NOTHING = Nothing()


def placeholders(template: Any) -> set[str]:
    """The names that stand in a template, keys of objects left out."""
    if isinstance(template, str):
        return set(_PLACEHOLDER.findall(template))
    return {name for _, inner in _inside(template) for name in placeholders(inner)}


def complaints(
    template: Any, values: Collection[str], words: Collection[str], depth: int = 0
) -> Iterator[tuple[str, str]]:
    """What is wrong with a template, each with the place: `messages[0].role`, or empty.

    `values` may stand alone, `words` also inside a text.
    """
    if depth > DEEPEST:
        yield "", f"This is more than {DEEPEST} levels deep."
        return
    if isinstance(template, str):
        yield from (("", each) for each in _complaints_of_text(template, values, words))
    for name, inner in _inside(template):
        if _BRACES.search(name):
            yield name, "A name is no place for a placeholder."
        for place, complaint in complaints(inner, values, words, depth + 1):
            yield _joined(name, place), complaint


def _inside(template: Any) -> Iterator[tuple[str, Any]]:
    """What an object or a list holds, each with its place in it."""
    if isinstance(template, dict):
        yield from template.items()
    elif isinstance(template, list):
        yield from ((f"[{number}]", inner) for number, inner in enumerate(template))


def _complaints_of_text(
    text: str, values: Collection[str], words: Collection[str]
) -> Iterator[str]:
    alone = _PLACEHOLDER.fullmatch(text)
    for name in _PLACEHOLDER.findall(text):
        if name not in values and name not in words:
            known = ", ".join(sorted({*values, *words}))
            yield f"There is no {{{{{name}}}}} here. There are: {known}."
        elif not alone and name not in words:
            yield f"{{{{{name}}}}} is no text: it must stand alone."
    if _BRACES.search(_PLACEHOLDER.sub("", text)):
        yield "A placeholder is written {{name}}, in small letters."


def _joined(outer: str, inner: str) -> str:
    return f"{outer}{inner}" if not inner or inner.startswith("[") else f"{outer}.{inner}"


def rendered(template: Any, values: Mapping[str, Any]) -> Any:
    """The template with its placeholders replaced; NOTHING if none of it has a value."""
    if isinstance(template, str):
        return _text(template, values) if "{{" in template else template
    if isinstance(template, dict):
        left: Any = dict(_pairs(template, values))
    elif isinstance(template, list):
        left = [each for inner in template if (each := rendered(inner, values)) is not NOTHING]
    else:
        return template
    return NOTHING if template and not left else left


def _pairs(template: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, inner in template.items():
        if name.endswith("?") and any(_is_empty(values.get(each)) for each in placeholders(inner)):
            continue
        value = rendered(inner, values)
        if value is not NOTHING:
            yield name.removesuffix("?"), value


def _text(text: str, values: Mapping[str, Any]) -> Any:
    alone = _PLACEHOLDER.fullmatch(text)
    if alone:
        value = values.get(alone[1])
        return NOTHING if _is_empty(value) else value
    if any(_is_empty(values.get(name)) for name in _PLACEHOLDER.findall(text)):
        return NOTHING
    return _PLACEHOLDER.sub(lambda found: _word(values[found[1]]), text)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
