"""Commands to Redis as its protocol has them, and what becomes of each."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent / "lua"


def packed(*parts: str | int) -> bytes:
    """The parts as Redis reads the arguments of a command."""
    texts = [str(part).encode() for part in parts]
    return b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts])


class Script:
    """A Lua script, called by its digest; by its source where Redis was told to forget it."""

    def __init__(self, *names: str | Path) -> None:
        self.source = "\n".join((SCRIPTS / name).read_text() for name in names)
        # SHA-1 is how Redis names scripts; it guards nothing.
        name = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        self.by_digest = packed("EVALSHA", name)
        self.by_source = packed("EVAL", self.source)


class Command:
    """One command, and what becomes of it: `succeed` or `fail` is called once."""

    __slots__ = ("arguments", "count", "sent", "since")

    def __init__(self, count: int, arguments: bytes) -> None:
        self.count = count
        self.arguments = arguments
        #: How many times it left, and since when it is waited for.
        self.sent = 0
        self.since = 0.0

    def to_bytes(self) -> bytes:
        return b"*%d\r\n%b" % (self.count, self.arguments)

    def is_unknown(self, error: str) -> bool:
        """Whether Redis only lacks the script, so that it is worth being sent again."""
        return False

    def succeed(self, reply: Any) -> None:
        raise NotImplementedError

    def fail(self) -> None:
        """No good answer came. If it was sent, it may have been carried out all the same."""
        raise NotImplementedError

    def overdue(self) -> None:
        """Whoever waits is to wait no longer. The answer may still come."""


class ScriptCall(Command):
    """A call of a script. Its arguments: the number of keys, the keys, then the rest."""

    __slots__ = ("carries_source", "script")

    def __init__(self, script: Script, count: int, arguments: bytes) -> None:
        super().__init__(count, arguments)
        self.script = script
        self.carries_source = False

    def to_bytes(self) -> bytes:
        script = self.script.by_source if self.carries_source else self.script.by_digest
        return b"*%d\r\n%b%b" % (self.count + 2, script, self.arguments)

    def is_unknown(self, error: str) -> bool:
        unknown = error.startswith("NOSCRIPT") and not self.carries_source
        self.carries_source = True
        return unknown
