"""One answer as it was sent, for others who asked the same: while it runs, and afterwards."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any

from gateway.reply import Header, Reply, Send

#: One answer, and all that one process remembers, in bytes.
MOST_OF_ONE = 8 * 1024 * 1024
MOST_OF_ALL = 64 * 1024 * 1024
#: What a head and a piece take of memory besides their bytes: many small answers are much.
PER_HEAD = 4096
PER_PIECE = 64
REPLAYED: Header = (b"x-courier-replayed", b"true")
#: They told how things stood when the answer was new.
STALE = b"x-ratelimit-"


class Tape:
    """What was sent to one client: head, pieces, and whether it ended properly."""

    def __init__(self, room: Answers) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self.size = 0
        self.is_over = False
        #: Whether the last byte was sent, and all of them are still here.
        self.is_whole = False
        #: Whether the one who asked first has left, and it goes on for others.
        self.is_detached = False
        #: How many are listening besides the one who asked first.
        self.listeners = 0
        #: Called when the last of them has left an answer that nobody else may want.
        self.on_deserted: Callable[[], None] = lambda: None
        self._pieces: list[bytes] = []
        self._room = room
        self._is_torn = False
        self._moved = asyncio.Event()

    def over(self, send: Send) -> Send:
        """`send`, with everything that passes being recorded."""

        async def recorded(message: MutableMapping[str, Any]) -> None:
            self._record(message)
            if not self.is_detached:
                await send(message)

        return recorded

    def end(self) -> None:
        """Nothing more will come."""
        self.is_over = True
        self._wake()

    def discard(self) -> None:
        """Give its room back. Who is listening still hears what there is."""
        self._room.give_back(self.size)
        self.size = 0

    async def play(self, reply: Reply) -> bool:
        """Send the same to another client, as far as it has come, and then as it comes.

        False if nothing was sent, because nothing is there to send.
        """
        self.listeners += 1
        try:
            while not self.status and not self.is_over:
                await self._moved.wait()
            if not self.status or self._is_torn:
                return False
            fresh = [header for header in self.headers if not header[0].startswith(STALE)]
            await reply.begin_again(self.status, [*fresh, REPLAYED])
            await self._play_pieces(reply)
            return True
        finally:
            self.listeners -= 1
            if not self.listeners and self.is_detached and not self.is_over:
                self.on_deserted()

    async def _play_pieces(self, reply: Reply) -> None:
        at = 0
        while await self._has_more_than(at):
            piece, at = b"".join(self._pieces[at:]), len(self._pieces)
            await reply.write(piece)
        if self.is_whole:
            await reply.write(b"", more=False)
        else:
            reply.break_off()

    async def _has_more_than(self, count: int) -> bool:
        while len(self._pieces) <= count and not self.is_over and not self._is_torn:
            await self._moved.wait()
        return len(self._pieces) > count

    def _record(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
            self._take(PER_HEAD)
        else:
            self._add(message["body"])
            self.is_whole = not message["more_body"] and not self._is_torn
        self._wake()

    def _add(self, piece: bytes) -> None:
        if piece and not self._is_torn and self._take(len(piece) + PER_PIECE):
            self._pieces.append(piece)

    def _take(self, size: int) -> bool:
        """Take so much of the room. False if there is no more: then nothing is kept."""
        if self.size + size > MOST_OF_ONE or not self._room.take(size):
            self._is_torn = True
            self._pieces.clear()
            self.discard()
            return False
        self.size += size
        return True

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def to_bytes(self) -> bytes:
        """All of it, made small."""
        names = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers]
        head = json.dumps([self.status, names]).encode()
        return zlib.compress(b"\n".join([head, b"".join(self._pieces)]), level=1)

    @classmethod
    def from_bytes(cls, written: bytes, room: Answers) -> Tape:
        """What `to_bytes` made, to be played once."""
        head, _, body = zlib.decompress(written).partition(b"\n")
        tape = cls(room)
        tape.status, names = json.loads(head)
        tape.headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in names]
        tape._pieces = [body]  # noqa: SLF001  # its own
        tape.is_over = tape.is_whole = True
        return tape


class Answers:
    """The answers that this process remembers: so many bytes at most, the oldest go first."""

    def __init__(self) -> None:
        self.used = 0
        self._kept: OrderedDict[str, tuple[float, Tape]] = OrderedDict()

    def take(self, size: int) -> bool:
        """Make room for so many bytes. False if there is none."""
        while self.used + size > MOST_OF_ALL and self._kept:
            self._forget_oldest()
        if self.used + size > MOST_OF_ALL:
            return False
        self.used += size
        return True

    def give_back(self, size: int) -> None:
        self.used -= size

    def keep(self, name: str, tape: Tape, now: float, seconds: float) -> None:
        self.forget_old(now)
        # One that is remembered for longer than its key is: its room would be lost.
        former = self._kept.pop(name, None)
        if former:
            former[1].discard()
        self._kept[name] = (now + seconds, tape)

    def get(self, name: str, now: float) -> Tape | None:
        self.forget_old(now)
        kept = self._kept.get(name)
        return kept[1] if kept else None

    def forget_old(self, now: float) -> None:
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (_, tape) = self._kept.popitem(last=False)
        tape.discard()
