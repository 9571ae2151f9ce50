"""A form written anew while it is read: its fields are understood, its files copied.

The field that names the model is left out, for it is another one for each provider.
"""

from __future__ import annotations

from collections.abc import Collection
from secrets import token_hex

from gateway.dialects.base import Json
from gateway.errors import BadForm
from gateway.forms import FormFile, FormReader, Malformed, Mark, Part, Token

LONGEST_FIELD = 256 * 1024


class FormCopy:
    """One form. What is wrong with it is told by BadForm."""

    def __init__(self, content_type: str, early: Collection[str]) -> None:
        """`early` are the fields that have to be obeyed: too late, they are refused."""
        self.boundary = token_hex(16)
        #: Texts by name, and files. Of a name that comes several times, a list.
        self.fields: Json = {}
        #: The file that is coming.
        self.file: FormFile | None = None
        self.is_over = False
        #: Whether the fields that have come were taken for all that there are.
        self.is_late = False
        self._early = early
        self._field: Part | None = None
        self._value = b""
        try:
            self._reader = FormReader(content_type)
        except Malformed as error:
            raise BadForm(f"{error}.") from None

    def add(self, data: bytes) -> bytes:
        """What more of the form adds to its copy."""
        try:
            return b"".join([self._copied(token) for token in self._reader.feed(data)])
        except Malformed as error:
            raise BadForm(f"{error}.") from None

    def end(self) -> None:
        """Nothing more will come."""
        if not self.is_over:
            raise BadForm("The form ends before its last boundary.")

    def addressed_to(self, model: str) -> bytes:
        """The field that the copy lacks; it goes first."""
        return Part("model").head(self.boundary) + model.encode() + b"\r\n"

    def _copied(self, token: Token) -> bytes:
        match token:
            case Part():
                return self._begin(token)
            case bytes():
                return self._go_on(token)
            case Mark.END_OF_PART:
                return self._end_part()
            case _:
                self.is_over = True
                return f"--{self.boundary}--\r\n".encode()

    def _begin(self, part: Part) -> bytes:
        if part.name.casefold() in self._early and (self.is_late or part.filename is not None):
            raise BadForm(
                f"The field {part.name!r} must be a text, and come before the file.",
                param=part.name,
            )
        if part.filename is None:
            self._field, self._value = part, b""
            return b""
        self.file = FormFile(part.filename)
        self._note(part.name, self.file)
        return part.head(self.boundary)

    def _go_on(self, data: bytes) -> bytes:
        if self.file is not None:
            self.file.size += len(data)
            return data
        self._value += data
        if len(self._value) > LONGEST_FIELD:
            raise Malformed(f"A field is longer than {LONGEST_FIELD} bytes")
        return b""

    def _end_part(self) -> bytes:
        if self._field is None:
            self.file = None
            return b"\r\n"
        field, self._field = self._field, None
        try:
            self._note(field.name, self._value.decode())
        except UnicodeDecodeError:
            raise Malformed("A field is not UTF-8") from None
        if field.name == "model":
            return b""
        return field.head(self.boundary) + self._value + b"\r\n"

    def _note(self, name: str, value: str | FormFile) -> None:
        if name not in self.fields:
            self.fields[name] = value
        elif isinstance(self.fields[name], list):
            self.fields[name].append(value)
        else:
            self.fields[name] = [self.fields[name], value]
