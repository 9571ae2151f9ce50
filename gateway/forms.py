"""multipart/form-data (RFC 7578), read as it comes: strict, bounded, and kept by nobody.

What is read is written anew, with a boundary of our own and only the headers that mean
something: so no two readers on the way can understand one form in two ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

MOST_PARTS = 64
LONGEST_NAME = 64
LONGEST_FILENAME = 255
#: Before its first delimiter nothing of a form means anything, and little is let pass.
_BOUNDARY = re.compile(
    r"multipart/form-data"
    r"(?:\s*;\s*charset=[\w-]+)?"
    r"\s*;\s*boundary=(\"?)([A-Za-z0-9'()+_,./:=?-]{1,70})\1"
    r"(?:\s*;\s*charset=[\w-]+)?\s*",
    re.IGNORECASE,
)
_DISPOSITION = re.compile(
    rb'form-data((?:\s*;\s*[a-z*]+=(?:"(?:[^"\\]|\\.)*"|[^\s";]+))+)\s*', re.IGNORECASE
)
_PARAMETER = re.compile(rb';\s*([a-z*]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s";]+))', re.IGNORECASE)
_NAME = re.compile(rf"[A-Za-z0-9_.\[\]-]{{1,{LONGEST_NAME}}}")
_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?:\s*;\s*[\w-]+=\"?[\w.+-]+\"?)*", re.ASCII)
_CONTROL = re.compile(rb"[\0-\x1f\x7f]")
_PLAIN_ENCODINGS = frozenset({b"7bit", b"8bit", b"binary"})


class Malformed(ValueError):
    """The form cannot be read. Says why, in words that quote nothing of it."""


@dataclass(frozen=True, slots=True)
class Part:
    """The head of one part. A file is what has the name of one."""

    name: str
    filename: str | None = None
    content_type: str | None = None

    def head(self, boundary: str) -> bytes:
        """What goes before the part's content."""
        lines = [f"--{boundary}", f'Content-Disposition: form-data; name="{self.name}"']
        if self.filename is not None:
            # As browsers write it (WHATWG HTML, "multipart form data").
            lines[1] += '; filename="{}"'.format(self.filename.replace('"', "%22"))
        if self.content_type:
            lines.append(f"Content-Type: {self.content_type}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass(slots=True)
class FormFile:
    """A file of a form, as far as it is known. Its content is passed on, and never here."""

    name: str
    #: Bytes that have come of it.
    size: int = 0
    #: Bytes that may come in all, while they are still coming.
    expected: int = 0


class Mark(Enum):
    """What a form says of itself, beside parts and their content."""

    END_OF_PART = "end of part"
    END_OF_FORM = "end of form"


Token = Part | bytes | Mark


def boundary_of(content_type: str) -> str:
    """The boundary that a request names for its form. Raises Malformed."""
    found = _BOUNDARY.fullmatch(content_type)
    if found is None:
        raise Malformed("The content type names no boundary, or a malformed one")
    return found[2]


class FormReader:
    """Reads one form."""

    def __init__(self, content_type: str) -> None:
        self._tokens: list[Token] = []
        self._headers: list[tuple[bytes, bytes]] = []
        self._name = self._value = b""
        self._parts = 0
        self._parser = MultipartParser(
            boundary_of(content_type).encode(),
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, data: bytes) -> Iterator[Token]:
        """What `data` adds: heads of parts, pieces of content, and marks. Raises Malformed."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise Malformed("The form does not keep to RFC 7578") from None
        tokens, self._tokens = self._tokens, []
        return iter(tokens)

    def _on_part_begin(self) -> None:
        self._headers = []
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise Malformed(f"The form has more than {MOST_PARTS} parts")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers.append((self._name.lower(), self._value.strip()))
        self._name = self._value = b""

    def _on_headers_finished(self) -> None:
        self._tokens.append(_part_of(self._headers))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._tokens.append(data[start:end])

    def _on_part_end(self) -> None:
        self._tokens.append(Mark.END_OF_PART)

    def _on_end(self) -> None:
        self._tokens.append(Mark.END_OF_FORM)


def _part_of(headers: list[tuple[bytes, bytes]]) -> Part:
    told = dict(headers)
    if len(told) != len(headers):
        raise Malformed("A part has one header twice")
    if any(_CONTROL.search(value) for value in told.values()):
        raise Malformed("A part has a header with control characters")
    if told.get(b"content-transfer-encoding", b"binary").lower() not in _PLAIN_ENCODINGS:
        raise Malformed("A part is encoded; send it as it is")
    parameters = _parameters(told.get(b"content-disposition", b""))
    return Part(_name_in(parameters), _filename_in(parameters), _type_in(told))


def _parameters(disposition: bytes) -> dict[str, bytes]:
    found = _DISPOSITION.fullmatch(disposition)
    if found is None:
        raise Malformed("A part has no proper Content-Disposition")
    pairs = [
        (name.decode().lower(), re.sub(rb'\\(["\\])', rb"\1", quoted) or plain)
        for name, quoted, plain in _PARAMETER.findall(found[1])
    ]
    parameters = dict(pairs)
    if len(parameters) != len(pairs) or not parameters.keys() <= {"name", "filename", "filename*"}:
        raise Malformed("A part has no proper Content-Disposition")
    return parameters


def _name_in(parameters: dict[str, bytes]) -> str:
    name = parameters.get("name", b"").decode("latin-1")
    if not _NAME.fullmatch(name):
        raise Malformed("A part has no name, or one with unusual characters")
    return name


def _filename_in(parameters: dict[str, bytes]) -> str | None:
    """The name of a file without its folders; None for a field."""
    told = parameters.get("filename")
    charset, _, encoded = parameters.get("filename*", b"").partition(b"''")
    if encoded and charset.lower() == b"utf-8":
        # Older libraries write names beyond ASCII in this way (RFC 5987).
        told = unquote_to_bytes(encoded)
    if told is None:
        return None
    if _CONTROL.search(told):
        raise Malformed("A file has a name with control characters")
    try:
        name = re.split(r"[/\\]", told.decode())[-1]
    except UnicodeDecodeError:
        raise Malformed("A file has a name that is not UTF-8") from None
    if len(name) > LONGEST_FILENAME:
        raise Malformed("A file has a name that is too long")
    return name


def _type_in(told: dict[bytes, bytes]) -> str | None:
    content_type = told.get(b"content-type", b"").decode("latin-1")
    if not content_type:
        return None
    if not _TYPE.fullmatch(content_type) or content_type.lower().startswith("multipart/"):
        raise Malformed("A part has a content type that is malformed, or parts of its own")
    return content_type
