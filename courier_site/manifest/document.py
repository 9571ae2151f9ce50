"""A manifest's text as entries that know their lines, so that every complaint can name one."""

from __future__ import annotations

import datetime
import difflib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

#: ${NAME}; with one more dollar sign in front it is meant literally.
REFERENCE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: What YAML makes of a scalar that may stand for text or a number.
WORDS = frozenset({"tag:yaml.org,2002:str"})
NUMBERS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
MOMENTS = frozenset({"tag:yaml.org,2002:timestamp"})
NOTHING = "tag:yaml.org,2002:null"
#: Values that aliases may make of a short manifest: nine lines can make billions.
MOST_VALUES = 100_000
FLAGS = {"true": True, "false": False}
EXPECTED = {WORDS: "text; put it in quotes", MOMENTS | WORDS: "a date or a time"}


class ManifestError(Exception):
    """The manifest cannot be applied. Each complaint is a sentence that names its line."""

    def __init__(self, complaints: Iterable[str]) -> None:
        self.complaints = list(complaints)
        super().__init__("\n".join(self.complaints))


class Unset(Exception):
    """A value refers to an environment variable that is not set."""


class Document:
    """One manifest: its name, its text, and the environment that it refers to."""

    def __init__(
        self,
        name: str,
        text: str,
        environ: Mapping[str, str] = os.environ,
        folder: Path = Path(),
    ) -> None:
        self.name = name
        self.environ = environ
        self.folder = folder
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise self._unreadable(error) from error
        except RecursionError:
            raise self.error(1, "It is nested too deep.") from None
        if not isinstance(node, yaml.MappingNode):
            raise ManifestError([f"{name}: a manifest is a mapping that begins with version: 1."])
        self.pairs = list(self._pairs_in(node, max(MOST_VALUES, len(text))))
        self.root = Entry(self, node, "the manifest")

    @classmethod
    def read(cls, path: Path) -> Document:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ManifestError([f"{path} cannot be read: {reason}."]) from error
        return cls(path.name, text, folder=path.parent)

    def error(self, line: int, message: str) -> ManifestError:
        return ManifestError([f"{self.name}, line {line}: {message}"])

    def _pairs_in(self, root: yaml.Node, most: int) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Each name and value of its mappings, however deep."""
        waiting, seen = [root], 0
        while waiting:
            node = waiting.pop()
            seen += 1
            if seen > most:
                raise self.error(1, f"With its aliases it has more than {most} values.")
            if isinstance(node, yaml.MappingNode):
                yield from node.value
                waiting.extend(value for _, value in node.value)
            elif isinstance(node, yaml.SequenceNode):
                waiting.extend(node.value)

    def _unreadable(self, error: yaml.YAMLError) -> ManifestError:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it holds characters that YAML does not allow"
        line = mark.line + 1 if mark else 1
        return self.error(line, f"This is not valid YAML: {problem}.")


class Entry:
    """A mapping of the manifest. Reading a value checks its form."""

    def __init__(self, document: Document, node: yaml.Node, what: str) -> None:
        self.document = document
        self.line = node.start_mark.line + 1
        self.what = what
        self._values: dict[str, yaml.Node] = {}
        self._lines: dict[str, int] = {}
        if not isinstance(node, yaml.MappingNode):
            raise self.error(f"{self.subject} must be a mapping, such as {{name: …}}.")
        for key, value in node.value:
            self._take(key, value)

    def _take(self, key: yaml.Node, value: yaml.Node) -> None:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise self.document.error(line, "A key must be plain text.")
        if key.value in self._values:
            raise self.document.error(line, f'"{key.value}" is given twice.')
        self._values[key.value] = value
        self._lines[key.value] = line

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __contains__(self, key: str) -> bool:
        node = self._values.get(key)
        return node is not None and node.tag != NOTHING

    @property
    def subject(self) -> str:
        """What this is, to begin a sentence."""
        return self.what[:1].upper() + self.what[1:]

    def error(self, message: str, key: str = "") -> ManifestError:
        return self.document.error(self.line_of(key), message)

    def line_of(self, key: str) -> int:
        return self._lines.get(key, self.line)

    def only(self, *known: str) -> None:
        """Refuse keys that are not known here, with a suggestion."""
        unknown = [key for key in self._values if key not in known]
        if unknown:
            raise ManifestError(
                str(self.error(f'Unknown key "{key}" in {self.what}{suggestion(key, known)}', key))
                for key in unknown
            )

    def text(self, key: str) -> str:
        """The text at `key`, with ${NAME} replaced from the environment."""
        text = self._expanded(self._scalar(key, WORDS), key)
        if not text.strip() or not text.isprintable():
            raise self.error(f"{key} must not be empty, nor hold control characters.", key)
        return text

    def choice(self, key: str, offered: Collection[str], later: Collection[str] = ()) -> str:
        chosen = self.text(key)
        if chosen in offered:
            return chosen
        if chosen in later:
            raise self.error(f'{key} "{chosen}" is not available in this version.', key)
        raise self.error(f'{key} cannot be "{chosen}"{suggestion(chosen, offered)}', key)

    def decimal(self, key: str) -> Decimal:
        """The exact number at `key`, written as a number or as text."""
        text = self._expanded(self._scalar(key, WORDS | NUMBERS, "a number"), key)
        try:
            number = Decimal(text)
        except InvalidOperation:
            raise self.error(f"{key} must be a number.", key) from None
        if not number.is_finite():
            raise self.error(f"{key} must be a number.", key)
        return number

    def whole(self, key: str) -> int:
        number = self.decimal(key)
        if number != number.to_integral_value():
            raise self.error(f"{key} must be a whole number.", key)
        return int(number)

    def wholes(self, key: str) -> list[int]:
        return [self._whole_item(item, key) for item in self._items(key, "whole numbers")]

    def _whole_item(self, item: yaml.Node, key: str) -> int:
        try:
            return int(str(item.value)) if isinstance(item, yaml.ScalarNode) else int("")
        except ValueError:
            message = f"{key} must be a list of whole numbers."
            raise self.document.error(item.start_mark.line + 1, message) from None

    def flag(self, key: str) -> bool:
        node = self._values[key]
        if not isinstance(node, yaml.ScalarNode) or node.value.lower() not in FLAGS:
            raise self.error(f"{key} must be true or false.", key)
        return FLAGS[node.value.lower()]

    def moment(self, key: str) -> datetime.datetime:
        """The moment at `key`; a date alone is its midnight, and no zone means UTC."""
        text = self._scalar(key, MOMENTS | WORDS)
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            message = f"{key} must be a date or a time, such as 2026-01-31 or 2026-01-31T12:00:00Z."
            raise self.error(message, key) from None
        return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)

    def texts(self, key: str) -> list[str]:
        items = self._items(key, "text")
        for item in items:
            if not isinstance(item, yaml.ScalarNode) or item.tag not in WORDS:
                line = item.start_mark.line + 1
                raise self.document.error(line, f"{key} must be a list of text; use quotes.")
        return [self._expanded(item.value, key) for item in items]

    def unknown_or_whole(self, key: str) -> int | None:
        """The whole number at `key`; None for ~, which says that it is not known."""
        return self.whole(key) if key in self else None

    def unknown_or_flag(self, key: str) -> bool | None:
        """True or false; None for ~, which says that it is not known."""
        return self.flag(key) if key in self else None

    def plain(self, key: str) -> Any:
        """Whatever stands at `key`, as plain values, with ${NAME} replaced in its text."""
        return self._plain(self._values[key], key)

    def _plain(self, node: yaml.Node, key: str) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, key) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            return {str(name.value): self._plain(item, key) for name, item in node.value}
        if node.tag in WORDS:
            return self._expanded(str(node.value), key)
        if node.tag in MOMENTS:
            return str(node.value)
        return yaml.safe_load(str(node.value))

    def entry(self, key: str) -> Entry:
        return Entry(self.document, self._values[key], key)

    def entries(self, key: str, noun: str) -> list[Entry]:
        """The mappings of the list at `key`; none if it is absent."""
        if key not in self:
            return []
        what = f"an {noun}" if noun[0] in "aeiouA" else f"a {noun}"
        return [Entry(self.document, item, what) for item in self._items(key, "entries")]

    def _items(self, key: str, of: str) -> list[yaml.Node]:
        node = self._values[key]
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(f"{key} must be a list of {of}.", key)
        return list(node.value)

    def _scalar(self, key: str, tags: frozenset[str], expected: str = "") -> str:
        node = self._values.get(key)
        if node is None:
            raise self.error(f'{self.subject} needs "{key}".')
        if not isinstance(node, yaml.ScalarNode) or node.tag not in tags:
            raise self.error(f"{key} must be {expected or EXPECTED[tags]}.", key)
        return str(node.value)

    def _expanded(self, text: str, key: str) -> str:
        def value(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return match[0][1:]
            if not self.document.environ.get(name):
                message = f"{key} refers to the environment variable {name}, which is not set."
                raise self.error(message, key) from Unset(name)
            return self.document.environ[name]

        return REFERENCE.sub(value, text)


def suggestion(word: str, known: Collection[str]) -> str:
    """The end of a complaint about `word`: what may have been meant, else what there is."""
    close = difflib.get_close_matches(word, known, n=1)
    return f'; did you mean "{close[0]}"?' if close else f". Possible: {', '.join(known)}."
